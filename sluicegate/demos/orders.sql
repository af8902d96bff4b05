-- title: Orders and revenue
-- description: A shop's orders joined with its products: revenue by category, the best customers, and what has to be ordered again. Views are up to date after every row.

CREATE TABLE products (
    product_id INT NOT NULL PRIMARY KEY,
    name VARCHAR NOT NULL,
    category VARCHAR NOT NULL,
    price DECIMAL(10, 2) NOT NULL,
    stock INT NOT NULL
);

CREATE TABLE orders (
    order_id BIGINT NOT NULL PRIMARY KEY,
    customer VARCHAR NOT NULL,
    product_id INT NOT NULL,
    quantity INT NOT NULL,
    ordered_at TIMESTAMP NOT NULL
);

CREATE VIEW order_lines AS
SELECT o.order_id, o.customer, o.ordered_at, p.category, o.quantity, o.quantity * p.price AS amount
FROM orders AS o
JOIN products AS p ON p.product_id = o.product_id;

CREATE MATERIALIZED VIEW revenue_by_category AS
SELECT category, COUNT(*) AS orders, SUM(amount) AS revenue
FROM order_lines
GROUP BY category;

CREATE MATERIALIZED VIEW best_customers AS
SELECT customer, SUM(amount) AS spent, MAX(ordered_at) AS last_order
FROM order_lines
GROUP BY customer
HAVING SUM(amount) >= 100;

CREATE MATERIALIZED VIEW order_again AS
SELECT p.product_id, p.name, p.stock - COALESCE(s.sold, 0) AS remaining
FROM products AS p
LEFT JOIN (
    SELECT product_id, SUM(quantity) AS sold FROM orders GROUP BY product_id
) AS s ON s.product_id = p.product_id
WHERE p.stock - COALESCE(s.sold, 0) < 10;

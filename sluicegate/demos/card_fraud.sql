-- title: Suspicious card payments
-- description: Marks card payments that are far above what the card usually pays, or that follow another payment in a different country within an hour, and lists the cards to block.

CREATE TABLE cards (
    card_id BIGINT NOT NULL PRIMARY KEY,
    holder VARCHAR NOT NULL,
    home_country VARCHAR NOT NULL
);

CREATE TABLE payments (
    payment_id BIGINT NOT NULL PRIMARY KEY,
    card_id BIGINT NOT NULL,
    amount DOUBLE NOT NULL,
    country VARCHAR NOT NULL,
    paid_at TIMESTAMP NOT NULL
);

CREATE VIEW habits AS
SELECT card_id, COUNT(*) AS payments, AVG(amount) AS usual_amount
FROM payments
GROUP BY card_id;

CREATE MATERIALIZED VIEW unusually_high AS
SELECT p.payment_id, p.card_id, p.amount, h.usual_amount
FROM payments AS p
JOIN habits AS h ON h.card_id = p.card_id
WHERE h.payments >= 3 AND p.amount > 2 * h.usual_amount;

CREATE MATERIALIZED VIEW impossible_travel AS
SELECT later.payment_id, later.card_id, earlier.country AS from_country, later.country AS to_country
FROM payments AS later
JOIN payments AS earlier ON earlier.card_id = later.card_id
WHERE earlier.country <> later.country
    AND earlier.paid_at < later.paid_at
    AND later.paid_at <= earlier.paid_at + INTERVAL '1' HOUR;

CREATE MATERIALIZED VIEW cards_to_block AS
SELECT c.card_id, c.holder, COUNT(*) AS reasons
FROM cards AS c
JOIN (
    SELECT card_id, payment_id FROM unusually_high
    UNION ALL
    SELECT card_id, payment_id FROM impossible_travel
) AS s ON s.card_id = c.card_id
GROUP BY c.card_id, c.holder;

"""Nexmark: an auction site's persons, auctions and bids, and the queries over them.

Left out: q6 (an average over the last ten rows of a window that is itself aggregated), q10 (writes files),
q11 and q12 (session windows by arrival, and processing time), q13 (a side input in a file), q14 (a
function in another language). See docs/sql.md.
"""

from datetime import datetime, timedelta
from random import Random

from tests.engine.programs.programs import WHOLE, Benchmark, Row

TABLES = """
CREATE TABLE person (
    id BIGINT NOT NULL PRIMARY KEY, name VARCHAR, emailAddress VARCHAR, creditCard VARCHAR,
    city VARCHAR, state VARCHAR, date_time TIMESTAMP NOT NULL LATENESS INTERVAL 4 SECONDS,
    extra VARCHAR);
CREATE TABLE auction (
    id BIGINT NOT NULL PRIMARY KEY, itemName VARCHAR, description VARCHAR, initialBid BIGINT,
    reserve BIGINT, date_time TIMESTAMP NOT NULL LATENESS INTERVAL 4 SECONDS,
    expires TIMESTAMP NOT NULL, seller BIGINT NOT NULL, category BIGINT, extra VARCHAR);
CREATE TABLE bid (
    auction BIGINT NOT NULL, bidder BIGINT NOT NULL, price BIGINT NOT NULL, channel VARCHAR,
    url VARCHAR, date_time TIMESTAMP NOT NULL LATENESS INTERVAL 4 SECONDS, extra VARCHAR
) WITH ('materialized' = 'true');
"""

TUMBLED = "TABLE(TUMBLE(TABLE {0}, DESCRIPTOR(date_time), INTERVAL '10' SECOND))"
"""Rows of a table with the window of ten seconds that each lies in."""
WINDOWED = (
    "(SELECT *, time_bucket(INTERVAL '10 seconds', date_time) AS window_start, "
    "time_bucket(INTERVAL '10 seconds', date_time) + INTERVAL '10 seconds' AS window_end FROM {0})"
)
HOPPED = "TABLE(HOP(TABLE bid, DESCRIPTOR(date_time), INTERVAL '2' SECOND, INTERVAL '10' SECOND))"
HOPS = (
    "(SELECT b.*, w AS window_start, w + INTERVAL '10 seconds' AS window_end FROM bid b, "
    "range(time_bucket(INTERVAL '2 seconds', date_time) - INTERVAL '8 seconds', "
    "date_time + INTERVAL '1 microsecond', INTERVAL '2 seconds') AS hops(w) WHERE w + INTERVAL '10 seconds' "
    "> date_time)"
)
Q5 = """
    SELECT counts.auction, counts.num FROM (
        SELECT auction, COUNT(*) AS num, window_start, window_end FROM {0} AS w
        GROUP BY auction, window_start, window_end) AS counts
    JOIN (
        SELECT MAX(num) AS maxn, window_start, window_end FROM (
            SELECT COUNT(*) AS num, window_start, window_end FROM {0} AS w
            GROUP BY auction, window_start, window_end) AS per_auction
        GROUP BY window_start, window_end) AS most
    ON counts.window_start = most.window_start AND counts.window_end = most.window_end
        AND counts.num >= most.maxn"""
Q7 = """
    SELECT b.auction, b.price, b.bidder, b.date_time FROM bid b JOIN (
        SELECT MAX(price) AS maxprice, window_end FROM {0} AS w GROUP BY window_end) AS highest
    ON b.price = highest.maxprice
    WHERE b.date_time BETWEEN highest.window_end - INTERVAL '10' SECOND AND highest.window_end"""
Q8 = """
    SELECT p.id, p.name, p.window_start FROM (
        SELECT id, name, window_start, window_end FROM {0} AS w
        GROUP BY id, name, window_start, window_end) AS p
    JOIN (
        SELECT seller, window_start, window_end FROM {1} AS w
        GROUP BY seller, window_start, window_end) AS a
    ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end"""

QUERIES = {
    "q0": "SELECT auction, bidder, price, date_time, extra FROM bid",
    "q1": "SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 3 = 0",
    "q3": """
        SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
        WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')""",
    "q4": """
        SELECT q.category, AVG(q.final) AS average FROM (
            SELECT MAX(b.price) AS final, a.category FROM auction a, bid b
            WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
            GROUP BY a.id, a.category) AS q
        GROUP BY q.category""",
    "q5": Q5.format(HOPPED),
    "q7": Q7.format(TUMBLED.format("bid")),
    "q8": Q8.format(TUMBLED.format("person"), TUMBLED.format("auction")),
    "q9": """
        SELECT id, itemName, seller, auction, bidder, price, bid_time FROM (
            SELECT a.id, a.itemName, a.seller, b.auction, b.bidder, b.price, b.date_time AS bid_time,
                ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time ASC) AS rownum
            FROM auction a, bid b
            WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) AS ranked
        WHERE rownum <= 1""",
    "q15": """
        SELECT FORMAT_DATE('%Y-%m-%d', date_time) AS the_day, COUNT(*) AS total_bids,
            COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
            COUNT(*) FILTER (WHERE price >= 10000) AS rank2_bids,
            COUNT(DISTINCT bidder) AS total_bidders,
            COUNT(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
            COUNT(DISTINCT auction) AS total_auctions
        FROM bid GROUP BY FORMAT_DATE('%Y-%m-%d', date_time)""",
    "q16": """
        SELECT channel, FORMAT_DATE('%Y-%m-%d', date_time) AS the_day, MAX(date_time) AS latest,
            COUNT(*) AS total_bids, COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
            COUNT(DISTINCT bidder) AS total_bidders, COUNT(DISTINCT auction) AS total_auctions
        FROM bid GROUP BY channel, FORMAT_DATE('%Y-%m-%d', date_time)""",
    "q17": """
        SELECT auction, FORMAT_DATE('%Y-%m-%d', date_time) AS the_day, COUNT(*) AS total_bids,
            MIN(price) AS min_price, MAX(price) AS max_price, AVG(price) AS avg_price,
            SUM(price) AS sum_price
        FROM bid GROUP BY auction, FORMAT_DATE('%Y-%m-%d', date_time)""",
    "q18": """
        SELECT auction, bidder, price, channel, date_time FROM (
            SELECT *, ROW_NUMBER() OVER (
                PARTITION BY bidder, auction ORDER BY date_time DESC, price DESC) AS rank_number
            FROM bid) AS ranked
        WHERE rank_number <= 1""",
    "q19": """
        SELECT auction, bidder, price, date_time, rank_number FROM (
            SELECT *, ROW_NUMBER() OVER (
                PARTITION BY auction ORDER BY price DESC, date_time, bidder) AS rank_number
            FROM bid) AS ranked
        WHERE rank_number <= 10""",
    "q20": """
        SELECT b.auction, b.bidder, b.price, b.channel, a.itemName, a.initialBid, a.seller, a.category
        FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10""",
    "q21": """
        SELECT auction, bidder, price, channel,
            CASE WHEN LOWER(channel) = 'apple' THEN '0' WHEN LOWER(channel) = 'google' THEN '1'
                ELSE REGEXP_REPLACE(url, '.*channel_id=([0-9]+).*', '$1') END AS channel_id
        FROM bid WHERE LOWER(channel) IN ('apple', 'google') OR url RLIKE 'channel_id='""",
    "q22": """
        SELECT auction, bidder, price, channel, SPLIT_PART(url, '/', 4) AS dir1,
            SPLIT_PART(url, '/', 5) AS dir2, SPLIT_PART(url, '/', 6) AS dir3 FROM bid""",
}
PLAIN = {
    "q5": Q5.format(HOPS),
    "q7": Q7.format(WINDOWED.format("bid")),
    "q8": Q8.format(WINDOWED.format("person"), WINDOWED.format("auction")),
    **{
        name: QUERIES[name].replace("FORMAT_DATE('%Y-%m-%d', date_time)", "strftime(date_time, '%Y-%m-%d')")
        for name in ("q15", "q16", "q17")
    },
    "q21": QUERIES["q21"]
    .replace("'$1'", "'\\1'")
    .replace("url RLIKE 'channel_id='", "url LIKE '%channel_id=%'"),
}
BEGINNING = datetime(2024, 1, 1)


def _time(chance: Random, scale: int) -> datetime:
    return BEGINNING + timedelta(milliseconds=chance.randrange(1000 * max(scale, 1)))


def _person(chance: Random, scale: int, key: int) -> Row:
    return {
        "id": key,
        "name": f"person {key}",
        "emailAddress": f"{key}@example.com",
        "creditCard": "0000",
        "city": chance.choice(["Portland", "Boise"]),
        "state": chance.choice(["OR", "ID", "CA", "WA"]),
        "date_time": str(_time(chance, scale)),
        "extra": "",
    }


def _auction(chance: Random, scale: int, key: int) -> Row:
    begins = _time(chance, scale)
    return {
        "id": key,
        "itemName": f"item {key}",
        "description": "a thing",
        "initialBid": chance.randrange(100),
        "reserve": chance.randrange(1000),
        "date_time": str(begins),
        "expires": str(begins + timedelta(seconds=chance.randint(1, 30))),
        "seller": chance.randrange(scale),
        "category": chance.choice([10, 11, 12]),
        "extra": "",
    }


def _bid(chance: Random, scale: int) -> Row:
    return {
        "auction": chance.randrange(scale),
        "bidder": chance.randrange(scale),
        "price": chance.randint(1, 20_000),
        "channel": chance.choice(["Apple", "Google", "other"]),
        "url": f"https://example.com/a/b/c?channel_id={chance.randrange(9)}",
        "date_time": str(_time(chance, scale)),
        "extra": "",
    }


def rows(chance: Random, scale: int = 30) -> dict[str, list[Row]]:
    """Return rows of all tables: as many persons and auctions as the scale, ten times as many bids."""
    return {
        "person": [_person(chance, scale, key) for key in range(scale)],
        "auction": [_auction(chance, scale, key) for key in range(scale)],
        "bid": [_bid(chance, scale) for _ in range(10 * scale)],
    }


NEXMARK = Benchmark("nexmark", TABLES, QUERIES, rows, PLAIN, {"q4": WHOLE, "q17": WHOLE})

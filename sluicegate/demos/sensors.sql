-- title: Sensors of a plant
-- description: Readings of machines: the newest of each, a summary by hour, and an alarm for what is above its limit. Shows windows, row numbers and conditional counts.

CREATE TABLE machines (
    machine VARCHAR NOT NULL PRIMARY KEY,
    hall VARCHAR NOT NULL,
    limit_celsius DOUBLE NOT NULL
);

CREATE TABLE readings (
    machine VARCHAR NOT NULL,
    celsius DOUBLE NOT NULL,
    read_at TIMESTAMP NOT NULL
);

CREATE MATERIALIZED VIEW newest_reading AS
SELECT machine, celsius, read_at
FROM (
    SELECT machine, celsius, read_at,
        ROW_NUMBER() OVER (PARTITION BY machine ORDER BY read_at DESC) AS place
    FROM readings
) AS ranked
WHERE place = 1;

CREATE MATERIALIZED VIEW hours AS
SELECT machine, DATE_TRUNC('hour', read_at) AS hour_of_day,
    COUNT(*) AS readings, MIN(celsius) AS coldest, MAX(celsius) AS hottest
FROM readings
GROUP BY machine, DATE_TRUNC('hour', read_at);

CREATE MATERIALIZED VIEW alarms AS
SELECT m.hall, m.machine, n.celsius, m.limit_celsius, n.read_at
FROM newest_reading AS n
JOIN machines AS m ON m.machine = n.machine
WHERE n.celsius > m.limit_celsius;

CREATE MATERIALIZED VIEW halls AS
SELECT m.hall, COUNT(*) AS machines,
    SUM(CASE WHEN n.celsius > m.limit_celsius THEN 1 ELSE 0 END) AS too_hot
FROM machines AS m
JOIN newest_reading AS n ON n.machine = m.machine
GROUP BY m.hall;

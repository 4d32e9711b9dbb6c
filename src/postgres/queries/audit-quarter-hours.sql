-- A customer's quarter-hours of an interval.
-- $1 text: customer; $2 timestamptz: start, inclusive; $3 timestamptz: end, exclusive. Range of the primary key.
SELECT window_start, replace(series_id::text, '-', '') AS series_id, quantity, record_count
FROM rollup_quarter_hour
WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3;

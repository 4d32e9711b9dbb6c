-- Sums quarter-hours into the pieces of one day, where no rows are.
-- $1 text: customer; $2 timestamptz[]: starts of the pieces, ascending; $3 timestamptz: end of the day, exclusive. Range of the primary key.
INSERT INTO rollup_day (customer_id, window_start, series_id, quantity, record_count)
SELECT customer_id, ($2::timestamptz[])[width_bucket(window_start, $2::timestamptz[])], series_id, sum(quantity), sum(record_count)
FROM rollup_quarter_hour
WHERE customer_id = $1 AND window_start >= ($2::timestamptz[])[1] AND window_start < $3
GROUP BY 1, 2, 3;

-- What a customer's days of an interval add up to, over all series.
-- $1 text: customer; $2 timestamptz: start, inclusive; $3 timestamptz: end, exclusive. Range of the primary key.
SELECT coalesce(sum(quantity), 0)::text AS quantity, coalesce(sum(record_count), 0)::text AS record_count
FROM rollup_day
WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3;

-- Removes a customer's quarter-hours of an interval; recut-write-quarter-hours follows in the same transaction.
-- $1 text: customer; $2 timestamptz: start, inclusive; $3 timestamptz: end, exclusive. Range of the primary key.
DELETE FROM rollup_quarter_hour WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3;

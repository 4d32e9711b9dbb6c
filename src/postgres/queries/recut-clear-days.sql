-- Removes a customer's days of an interval; recut-write-days follows in the same transaction.
-- $1 text: customer; $2 timestamptz: start, inclusive; $3 timestamptz: end, exclusive. Range of the primary key.
DELETE FROM rollup_day WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3;

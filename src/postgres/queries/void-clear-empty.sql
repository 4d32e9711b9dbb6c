-- Removes the rollups of some series that nothing is left of. The transaction holds the customer's shard.
-- $1 text: customer; $2 timestamptz: start of the quarter-hour; $3 timestamptz: start of the day; $4 uuid[]: series. Primary keys.
WITH quarter_hours AS (
  DELETE FROM rollup_quarter_hour
  WHERE customer_id = $1 AND window_start = $2 AND series_id = ANY ($4::uuid[]) AND record_count = 0 AND quantity = 0
)
DELETE FROM rollup_day
WHERE customer_id = $1 AND window_start = $3 AND series_id = ANY ($4::uuid[]) AND record_count = 0 AND quantity = 0;

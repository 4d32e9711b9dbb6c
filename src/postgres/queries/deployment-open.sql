-- Makes the deployment and its shards if they are not there, notes that Redis came into use, returns the deployment.
-- $1 integer: shards; $2 text: 'redis' or 'postgres'.
WITH made AS (
  INSERT INTO deployment (shard_count, intake) VALUES ($1, $2)
  ON CONFLICT (only_row) DO UPDATE SET intake = CASE WHEN $2 = 'redis' THEN 'redis' ELSE deployment.intake END
  RETURNING deployment_id, shard_count, intake, token_key
), shards AS (
  INSERT INTO shard (shard) SELECT generate_series(0, shard_count - 1) FROM made
  ON CONFLICT DO NOTHING
), buffered AS (
  -- Redis comes into use: all that was acknowledged so far is here, so watermarks need not begin at the beginning of time.
  UPDATE shard SET watermark = now() WHERE $2 = 'redis' AND epoch = '' AND watermark IS NULL
)
SELECT deployment_id::text, shard_count, intake, token_key FROM made;

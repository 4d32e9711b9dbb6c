-- Locks a shard by moving its cursor, if it still stands where the drain began, and says whose totals may change. No row: somebody else moved it.
-- $1 integer: shard; $2 text: epoch; $3 text: cursor expected; $4 text: cursor to be; $5 timestamptz: watermark; $6 text[]: customers.
-- Primary keys of shard and shard_change.
WITH moved AS (
  UPDATE shard
  SET cursor = $4, watermark = greatest(watermark, $5), version = version + 1
  WHERE shard = $1 AND epoch = $2 AND cursor = $3
  RETURNING shard, version
)
INSERT INTO shard_change (shard, slot, version, customers)
SELECT shard, version % 256, version, $6::text[] FROM moved
ON CONFLICT (shard, slot) DO UPDATE SET version = excluded.version, customers = excluded.customers;

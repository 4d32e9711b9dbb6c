-- Locks a shard by moving its cursor, if it still stands where the drain began. No row: somebody else moved it.
-- $1 integer: shard; $2 text: epoch; $3 text: cursor expected; $4 text: cursor to be; $5 timestamptz: watermark. Primary key of shard.
UPDATE shard
SET cursor = $4, watermark = greatest(watermark, $5), version = version + 1
WHERE shard = $1 AND epoch = $2 AND cursor = $3;

-- Locks shards in ascending order, so that two appliers never wait for each other, and marks them changed: without a row in shard_change,
-- so that streams of all their customers look.
-- $1 integer[]: shards. Primary key of shard.
WITH locked AS MATERIALIZED (SELECT shard FROM shard WHERE shard = ANY ($1::integer[]) ORDER BY shard FOR UPDATE)
UPDATE shard SET version = version + 1 FROM locked WHERE shard.shard = locked.shard;

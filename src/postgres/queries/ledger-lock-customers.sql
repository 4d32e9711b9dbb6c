-- Locks the shards of customers in ascending order, so that two appliers never wait for each other, and says whose totals may change.
-- $1 json: {shard: [customer, ..], ..}. Primary keys of shard and shard_change. A row a shard.
WITH locked AS MATERIALIZED (
  SELECT shard FROM shard WHERE shard IN (SELECT json_object_keys($1::json)::integer) ORDER BY shard FOR UPDATE
), moved AS (
  UPDATE shard SET version = version + 1 FROM locked WHERE shard.shard = locked.shard
  RETURNING shard.shard, version
)
INSERT INTO shard_change (shard, slot, version, customers)
SELECT shard, version % 256, version, ARRAY(SELECT json_array_elements_text($1::json -> shard::text)) FROM moved
ON CONFLICT (shard, slot) DO UPDATE SET version = excluded.version, customers = excluded.customers;

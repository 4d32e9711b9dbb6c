-- Which shards stand at another version than one knows, and whose totals changed between, all of one snapshot.
-- $1 bigint[]: version known per shard, index = shard; null where none is. Customers are null where not every version between is kept.
-- Primary keys of shard and shard_change: reads what changed, at most a ring a shard.
SELECT s.shard, s.version,
  CASE WHEN deployment.intake = 'postgres' THEN date_trunc('milliseconds', now()) ELSE coalesce(s.watermark, 'epoch') END AS watermark,
  CASE WHEN s.version = known.version THEN '{}' WHEN changes.found = s.version - known.version THEN changes.customers END AS customers
FROM deployment, shard s
LEFT JOIN unnest($1::bigint[]) WITH ORDINALITY AS known(version, i) ON known.i = s.shard + 1
LEFT JOIN LATERAL (
  SELECT count(DISTINCT c.version) AS found, coalesce(array_agg(DISTINCT customer) FILTER (WHERE customer IS NOT NULL), '{}') AS customers
  FROM generate_series(known.version + 1, s.version) AS v
  JOIN shard_change c ON c.shard = s.shard AND c.slot = v % 256 AND c.version = v
  LEFT JOIN LATERAL unnest(c.customers) AS customer ON true
  WHERE s.version - known.version <= 256
) AS changes ON s.version > known.version
ORDER BY s.shard;

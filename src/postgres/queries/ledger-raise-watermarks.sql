-- Raises watermarks of shards that were seen empty behind their cursor. No effect where epoch or cursor moved on meanwhile.
-- $1 json: [{shard, epoch, cursor, watermarkMs}]. Primary key of shard; rows are locked in ascending order.
WITH seen AS MATERIALIZED (
  SELECT s.shard, to_timestamp(r."watermarkMs" / 1000.0) AS watermark
  FROM json_to_recordset($1::json) AS r(shard integer, epoch text, cursor text, "watermarkMs" bigint)
  JOIN shard s ON s.shard = r.shard AND s.epoch = r.epoch AND s.cursor = r.cursor
  ORDER BY s.shard
  FOR UPDATE OF s
)
UPDATE shard SET watermark = greatest(shard.watermark, seen.watermark) FROM seen WHERE shard.shard = seen.shard;

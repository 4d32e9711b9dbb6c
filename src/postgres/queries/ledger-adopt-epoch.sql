-- Follows a new stream from its start. Where another was followed before, what it still held is lost: a gap says so.
-- $1 integer: shard; $2 text: epoch expected; $3 text: epoch to be; $4 timestamptz: now, of the store that came back. Primary key of shard.
WITH before AS MATERIALIZED (
  SELECT shard, epoch, cursor, watermark FROM shard WHERE shard = $1 AND epoch = $2 FOR UPDATE
), lost AS (
  INSERT INTO gap (shard, lost_from, lost_to, old_epoch, new_epoch, cursor)
  SELECT shard, watermark, greatest($4, watermark), epoch, $3, cursor FROM before WHERE epoch <> ''
  ON CONFLICT DO NOTHING
)
UPDATE shard SET epoch = $3, cursor = '0-0', version = shard.version + 1
FROM before WHERE shard.shard = before.shard;

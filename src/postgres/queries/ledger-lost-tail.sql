-- The stream's last entry is before the cursor: entries were lost. Stored once per cursor.
-- $1 integer: shard; $2 text: epoch; $3 text: cursor; $4 timestamptz: now, of the store.
INSERT INTO gap (shard, lost_from, lost_to, old_epoch, new_epoch, cursor)
SELECT shard, watermark, greatest($4, watermark), epoch, epoch, cursor FROM shard
WHERE shard = $1 AND epoch = $2 AND cursor = $3
ON CONFLICT DO NOTHING;

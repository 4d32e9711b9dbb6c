-- Where a shard stands, and whether the stream of an epoch is gone.
-- $1 integer: shard; $2 text: epoch. Primary key of shard; unique key of gap.
SELECT epoch, cursor,
  EXISTS (SELECT FROM gap WHERE gap.shard = $1 AND old_epoch = $2 AND new_epoch <> $2) AS "epochLost"
FROM shard WHERE shard.shard = $1;

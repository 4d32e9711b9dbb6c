-- All shards.
SELECT shard, epoch, cursor, watermark FROM shard ORDER BY shard;

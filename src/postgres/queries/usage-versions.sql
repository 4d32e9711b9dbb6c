-- Version of each shard: which changed since one looked.
SELECT version FROM shard ORDER BY shard;

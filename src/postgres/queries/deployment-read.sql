-- The deployment; no row before its first start.
SELECT deployment_id::text, shard_count, intake, token_key FROM deployment;

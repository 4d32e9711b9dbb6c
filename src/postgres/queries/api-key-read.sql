-- One key, deleted or not. $1 text: customer; $2 text: API key. Primary key.
SELECT customer_id, api_key_id, name, tier, tokens_per_minute, tokens_per_day, created_at, updated_at, disabled_at, deleted_at, revision
FROM api_key WHERE customer_id = $1 AND api_key_id = $2;

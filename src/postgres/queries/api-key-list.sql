-- Keys in the order of their bytes. $1 text: customer, null for all; $2 text, $3 text: customer and API key to go on after, empty for the start;
-- $4 integer: most rows. Index api_key_in_order.
SELECT customer_id, api_key_id, name, tier, tokens_per_minute, tokens_per_day, created_at, updated_at, disabled_at, deleted_at, revision
FROM api_key
WHERE deleted_at IS NULL AND (customer_id COLLATE "C", api_key_id COLLATE "C") > ($2, $3)
  AND ($1::text IS NULL OR customer_id COLLATE "C" = $1)
ORDER BY customer_id COLLATE "C", api_key_id COLLATE "C" LIMIT $4;

-- Defines a key that is not, or is no longer, defined; the row is locked where there is one.
-- $1 text: customer; $2 text: API key; $3 text: name; $4 text: tier; $5 bigint: tokens per minute, null; $6 bigint: tokens per day, null;
-- $7 boolean: disabled. Primary keys.
WITH next AS (UPDATE api_key_revision_counter SET revision = revision + 1 RETURNING revision)
INSERT INTO api_key (customer_id, api_key_id, name, tier, tokens_per_minute, tokens_per_day, created_at, updated_at, disabled_at, revision)
SELECT $1, $2, $3, $4, $5, $6, now(), now(), CASE WHEN $7::boolean THEN now() END, revision FROM next
ON CONFLICT (customer_id, api_key_id) DO UPDATE
SET name = excluded.name, tier = excluded.tier, tokens_per_minute = excluded.tokens_per_minute, tokens_per_day = excluded.tokens_per_day,
  created_at = excluded.created_at, updated_at = excluded.updated_at, disabled_at = excluded.disabled_at, deleted_at = NULL,
  revision = excluded.revision
RETURNING *;

-- Changes a key; the row is locked. Disabled again, it keeps its time.
-- $1 text: customer; $2 text: API key; $3 text: name; $4 text: tier; $5 bigint: tokens per minute, null; $6 bigint: tokens per day, null;
-- $7 boolean: disabled. Primary keys.
WITH next AS (UPDATE api_key_revision_counter SET revision = revision + 1 RETURNING revision)
UPDATE api_key
SET name = $3, tier = $4, tokens_per_minute = $5, tokens_per_day = $6, updated_at = now(),
  disabled_at = CASE WHEN $7::boolean THEN coalesce(disabled_at, now()) END, revision = next.revision
FROM next
WHERE customer_id = $1 AND api_key_id = $2
RETURNING api_key.*;

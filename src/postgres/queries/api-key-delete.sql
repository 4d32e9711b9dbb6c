-- Marks a key deleted; no row: it is not defined. $1 text: customer; $2 text: API key. Primary keys.
WITH found AS MATERIALIZED (
  SELECT customer_id, api_key_id FROM api_key WHERE customer_id = $1 AND api_key_id = $2 AND deleted_at IS NULL FOR UPDATE
), next AS (
  UPDATE api_key_revision_counter SET revision = revision + 1 FROM found RETURNING revision
)
UPDATE api_key k SET deleted_at = now(), revision = next.revision
FROM found, next
WHERE k.customer_id = found.customer_id AND k.api_key_id = found.api_key_id;

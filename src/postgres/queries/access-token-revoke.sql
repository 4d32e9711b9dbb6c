-- Revokes an access token that is not revoked. $1 text: id. Primary key.
WITH next AS (UPDATE access_token_revision_counter SET revision = revision + 1 RETURNING revision)
UPDATE access_token SET revoked_at = now(), revision = next.revision FROM next
WHERE token_id = $1 AND revoked_at IS NULL;

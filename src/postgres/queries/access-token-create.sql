-- Makes an access token, unless there are as many live ones as may be; the counter's lock makes creations take turns.
-- $1 text: id; $2 text: name; $3 bytea: SHA-256 of the secret; $4 text[]: scopes; $5 text[]: customers, null for all;
-- $6 timestamptz: end, null; $7 integer: most live tokens. Scans access_token.
WITH next AS (UPDATE access_token_revision_counter SET revision = revision + 1 RETURNING revision)
INSERT INTO access_token (token_id, name, secret_hash, scopes, customers, created_at, expires_at, revision)
SELECT $1, $2, $3, $4, $5, now(), $6, revision FROM next
WHERE (SELECT count(*) FROM access_token WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())) < $7
RETURNING *;

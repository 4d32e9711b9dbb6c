-- Access tokens by id. $1 text: those after this id; $2 integer: most rows; $3 boolean: only those neither revoked nor expired.
-- Index access_token_in_order.
SELECT * FROM access_token
WHERE token_id COLLATE "C" > $1 AND (NOT $3::boolean OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())))
ORDER BY token_id COLLATE "C" LIMIT $2;

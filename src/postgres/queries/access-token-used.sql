-- Writes last uses; none moves back. $1 text[]: ids, in order, so that two writers cannot lock each other out; $2 timestamptz[]: when.
-- Primary key.
UPDATE access_token SET last_used_at = used.at
FROM unnest($1::text[], $2::timestamptz[]) AS used (token_id, at)
WHERE access_token.token_id = used.token_id AND (last_used_at IS NULL OR last_used_at < used.at);

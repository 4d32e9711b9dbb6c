-- Keys changed after a revision, deleted ones too. $1 bigint: revision; $2 integer: most rows. Index api_key_revision.
SELECT customer_id, api_key_id, name, tier, tokens_per_minute, tokens_per_day, created_at, updated_at, disabled_at, deleted_at, revision
FROM api_key WHERE revision > $1 ORDER BY revision LIMIT $2;

-- Access tokens changed after a revision, revoked ones too. $1 bigint: revision; $2 integer: most rows. Index access_token_revision.
SELECT * FROM access_token WHERE revision > $1 ORDER BY revision LIMIT $2;

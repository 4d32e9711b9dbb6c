-- Revocations of dashboard tokens after a revision. $1 bigint: revision; $2 integer: most rows. Index dashboard_revocation_revision.
SELECT customer_id, not_before, revision FROM dashboard_revocation WHERE revision > $1 ORDER BY revision LIMIT $2;

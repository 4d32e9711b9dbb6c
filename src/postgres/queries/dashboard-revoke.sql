-- Ends dashboard tokens that were issued so far, and forgets revocations whose tokens have all expired. The counter's lock comes first.
-- $1 text: customer, '' for everybody's; $2 integer: milliseconds by which the issuer's clock may be ahead; $3 integer: milliseconds
-- that a revocation is kept. Primary key; scans dashboard_revocation.
WITH next AS (UPDATE access_token_revision_counter SET revision = revision + 1 RETURNING revision),
forgotten AS (
  DELETE FROM dashboard_revocation WHERE not_before < now() - $3::integer * interval '1 millisecond' AND customer_id <> $1
)
INSERT INTO dashboard_revocation (customer_id, not_before, revision)
SELECT $1, now() + $2::integer * interval '1 millisecond', revision FROM next
ON CONFLICT (customer_id) DO UPDATE
SET not_before = greatest(excluded.not_before, dashboard_revocation.not_before), revision = excluded.revision
RETURNING not_before;

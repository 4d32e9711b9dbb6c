-- Since when dashboard tokens are good: those issued before are none. They are signed and not stored, so nothing else can end one.

CREATE TABLE dashboard_revocation (
  -- '': everybody's, the operators' too.
  customer_id text PRIMARY KEY,
  not_before timestamptz(3) NOT NULL,
  -- Of access_token_revision_counter.
  revision bigint NOT NULL
);
CREATE UNIQUE INDEX dashboard_revocation_revision ON dashboard_revocation (revision);

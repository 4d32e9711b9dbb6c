-- Access tokens of services. Only a hash of each secret is here: whoever reads the table can use none.

CREATE TABLE access_token (
  token_id text PRIMARY KEY,
  name text NOT NULL,
  -- SHA-256 of 130 random bits.
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
  -- Null: all.
  customers text[] CHECK (cardinality(customers) > 0),
  created_at timestamptz(3) NOT NULL,
  expires_at timestamptz(3),
  last_used_at timestamptz(3),
  -- Kept for good, so that a token which was found somewhere can be told.
  revoked_at timestamptz(3),
  revision bigint NOT NULL
);
-- Lists go by bytes, whatever the database's collation.
CREATE UNIQUE INDEX access_token_in_order ON access_token (token_id COLLATE "C");
CREATE UNIQUE INDEX access_token_revision ON access_token (revision);

-- Counts the changes of tokens. Whoever changes one holds this row until it commits, so revisions become visible in their order.
CREATE TABLE access_token_revision_counter (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  revision bigint NOT NULL DEFAULT 0
);
INSERT INTO access_token_revision_counter DEFAULT VALUES;

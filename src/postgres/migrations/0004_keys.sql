-- API keys and their limits.

-- Keys as an operator defines them: the caller's own ids, no secrets.
CREATE TABLE api_key (
  customer_id text NOT NULL,
  api_key_id text NOT NULL,
  name text NOT NULL,
  -- Of the configuration; empty for none.
  tier text NOT NULL,
  -- Null: the tier's.
  tokens_per_minute bigint CHECK (tokens_per_minute >= 0),
  tokens_per_day bigint CHECK (tokens_per_day >= 0),
  created_at timestamptz(3) NOT NULL,
  updated_at timestamptz(3) NOT NULL,
  disabled_at timestamptz(3),
  -- Kept for a while, so that whoever follows the changes hears of it.
  deleted_at timestamptz(3),
  revision bigint NOT NULL,
  PRIMARY KEY (customer_id, api_key_id)
);
-- Lists go by bytes, whatever the database's collation.
CREATE INDEX api_key_in_order ON api_key (customer_id COLLATE "C", api_key_id COLLATE "C") WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX api_key_revision ON api_key (revision);

-- Counts the changes of keys. Whoever changes one holds this row until it commits, so revisions become visible in their order.
CREATE TABLE api_key_revision_counter (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  revision bigint NOT NULL DEFAULT 0
);
INSERT INTO api_key_revision_counter DEFAULT VALUES;

-- What each defined key used in the minutes and days that are not over, changed in the transaction of the sums. A ring of ten places a key
-- (domain/limits.ts): a window that begins takes the place of one long over, so the table needs no cleaning up.
CREATE TABLE limit_counter (
  customer_id text NOT NULL,
  api_key_id text NOT NULL,
  place smallint NOT NULL CHECK (place BETWEEN 0 AND 9),
  window_start timestamptz(3) NOT NULL,
  -- Numeric, for a sum over meters may leave 64 bits where none of theirs does: no record is refused for its limits.
  used numeric NOT NULL,
  -- Of that, what was voided.
  voided numeric NOT NULL DEFAULT 0,
  PRIMARY KEY (customer_id, api_key_id, place)
) WITH (fillfactor = 80);

-- Marks reports, which the transaction has locked, as being sent from now on, through this sink and no other.
-- $1 bigint: epoch; $2 text[]: identifiers; $3 text: sink. Primary key of report.
UPDATE report
SET state = 'sending', reason = '', message = '', attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, now()), lease_epoch = $1,
  sink = $3
WHERE identifier = ANY ($2::text[]);

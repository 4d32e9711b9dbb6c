-- Marks reports, which the transaction has locked, as being sent from now on.
-- $1 bigint: epoch; $2 text[]: identifiers. Primary key of report.
UPDATE report
SET state = 'sending', reason = '', message = '', attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, now()), lease_epoch = $1
WHERE identifier = ANY ($2::text[]);

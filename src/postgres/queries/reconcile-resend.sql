-- Gives back to the flush what the stream took and Stripe did not count. The transaction has locked the reports.
-- $1 bigint: epoch; $2 text[]: identifiers. Primary key of report.
UPDATE report
SET state = 'unknown', reason = 'not_counted', message = 'taken by the stream, and not in Stripe''s summaries', next_attempt_at = now(),
  settled_at = NULL, lease_epoch = $1
WHERE identifier = ANY ($2::text[]) AND state = 'sent';

-- Holds reports, which the transaction has locked.
-- $1 bigint: epoch; $2 text[]: identifiers; $3 text: reason. Primary key of report.
UPDATE report
SET state = 'held', reason = $3, settled_at = now(), lease_epoch = $1
WHERE identifier = ANY ($2::text[]);

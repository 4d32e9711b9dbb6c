-- Holds reports that were never sent, for an operator. $1 text[]: identifiers; $2 text: message. Primary key of report.
UPDATE report SET state = 'held', reason = 'operator', message = $2, settled_at = now()
WHERE identifier = ANY ($1::text[]) AND state = 'planned' AND first_attempt_at IS NULL
RETURNING identifier;

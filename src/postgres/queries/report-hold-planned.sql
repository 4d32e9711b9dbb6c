-- Holds reports that were never sent, for an operator. Those that are so held already come back with them, as they are: a repeat is told the
-- same. $1 text[]: identifiers; $2 text: message. Primary key of report.
WITH held AS (
  UPDATE report SET state = 'held', reason = 'operator', message = $2, settled_at = now()
  WHERE identifier = ANY ($1::text[]) AND state = 'planned' AND first_attempt_at IS NULL
  RETURNING identifier
)
SELECT identifier FROM held
UNION
SELECT identifier FROM report WHERE identifier = ANY ($1::text[]) AND state = 'held' AND reason = 'operator';

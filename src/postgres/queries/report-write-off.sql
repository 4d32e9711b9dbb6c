-- Writes off held reports, whose message then says why before it says what it said. Those that are written off already come back with them,
-- as they are: a repeat, after an answer that was lost, is told the same. $1 text[]: identifiers; $2 text: why; $3 integer: longest
-- message; $4 text: the reason of those whose fate is not known, which stay. Primary key of report.
WITH written AS (
  UPDATE report
  SET written_off_at = now(), message = left(concat_ws('; before: ', 'written off: ' || $2::text, nullif(message, '')), $3)
  WHERE identifier = ANY ($1::text[]) AND state = 'held' AND reason <> $4 AND written_off_at IS NULL
  RETURNING identifier
)
SELECT identifier FROM written
UNION
SELECT identifier FROM report WHERE identifier = ANY ($1::text[]) AND state = 'held' AND written_off_at IS NOT NULL;

-- Held reports that may be asked for by reason and customer; not those that were written off. $1 text or null: reason; $2 text or null: customer; $3 integer: most rows;
-- $4 text: identifier to go on after. Index report_held.
SELECT identifier, reason FROM report
WHERE state = 'held' AND written_off_at IS NULL AND ($1::text IS NULL OR reason = $1) AND ($2::text IS NULL OR customer_id = $2) AND identifier > $4
ORDER BY identifier LIMIT $3;

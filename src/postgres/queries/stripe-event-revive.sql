-- Events that were given up are tried again from the start. $1 text[]: events; null: all. Primary key.
UPDATE stripe_event SET state = 'received', attempts = 0, next_attempt_at = now()
WHERE state = 'dead' AND ($1::text[] IS NULL OR event_id = ANY ($1::text[]))
RETURNING event_id AS "eventId";

-- Leases due events to one worker; those that another worker is just claiming are passed over.
-- $1 text[]: types; $2 integer: most events; $3 double precision: lease in ms. Index stripe_event_due.
WITH due AS MATERIALIZED (
  SELECT event_id FROM stripe_event
  WHERE state = 'received' AND next_attempt_at <= now() AND type = ANY ($1::text[])
  ORDER BY next_attempt_at
  LIMIT $2
  FOR UPDATE SKIP LOCKED
)
UPDATE stripe_event e
SET attempts = e.attempts + 1, next_attempt_at = now() + $3::double precision * interval '1 millisecond'
FROM due WHERE e.event_id = due.event_id
RETURNING e.event_id, e.type, e.object_id, e.created_at, e.payload, e.attempts;

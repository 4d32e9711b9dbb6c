-- The event comes again after a delay, or never.
-- $1 text: event; $2 text: why; $3 double precision: delay in ms, null for never. Primary key.
UPDATE stripe_event
SET last_error = $2, state = CASE WHEN $3::double precision IS NULL THEN 'dead' ELSE 'received' END,
  next_attempt_at = now() + coalesce($3::double precision, 0) * interval '1 millisecond'
WHERE event_id = $1 AND state = 'received';

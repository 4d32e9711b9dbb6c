-- Deletes some events that were applied and came long ago. $1 double precision: age in ms; $2 integer: most. Index stripe_event_applied.
DELETE FROM stripe_event WHERE event_id IN (
  SELECT event_id FROM stripe_event
  WHERE state = 'applied' AND received_at < now() - $1::double precision * interval '1 millisecond'
  ORDER BY received_at
  LIMIT $2
);

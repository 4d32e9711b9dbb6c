-- The event took effect; whoever had it before, it is done. $1 text: event. Primary key.
UPDATE stripe_event SET state = 'applied', last_error = '' WHERE event_id = $1;

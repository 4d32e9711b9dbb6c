-- What the metrics of every process look at each quarter of a minute.
CREATE INDEX stripe_event_dead ON stripe_event (event_id) WHERE state = 'dead';

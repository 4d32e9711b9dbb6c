-- Stores an event once. $1 text: event; $2 text: type; $3 text: object or empty; $4 timestamptz: created; $5 text: raw body. Primary key.
INSERT INTO stripe_event (event_id, type, object_id, created_at, payload) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (event_id) DO NOTHING;

-- Voids a record that is not void; the transaction holds its shard. The time is that of the statement, not of the transaction, which may
-- have waited for the shard.
-- $1 text: customer; $2 text: idempotency key; $3 date: event day; $4 text: reason. Primary key of usage_void.
INSERT INTO usage_void (customer_id, idempotency_key, event_day, reason, voided_at) VALUES ($1, $2, $3, $4, clock_timestamp())
RETURNING voided_at;

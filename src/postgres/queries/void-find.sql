-- The record that a key stands for, with its void where there is one. No row: no such record, or its raw record was dropped.
-- $1 text: customer; $2 text: idempotency key. Primary keys of idempotency_key, of the event day's partition, and of usage_void.
SELECT r.idempotency_key, r.event_time, r.api_key_id, r.model, r.labels,
  ARRAY(SELECT key FROM jsonb_each_text(r.measurements) ORDER BY key) AS meters,
  ARRAY(SELECT value FROM jsonb_each_text(r.measurements) ORDER BY key) AS quantities,
  r.catalog_id, v.reason, v.voided_at
FROM idempotency_key k
JOIN usage_record r ON r.customer_id = k.customer_id AND r.idempotency_key = k.idempotency_key AND r.event_day = k.event_day
LEFT JOIN usage_void v ON v.customer_id = r.customer_id AND v.idempotency_key = r.idempotency_key AND v.event_day = r.event_day
WHERE k.customer_id = $1 AND k.idempotency_key = $2;

-- The record that a key stands for, with its void where there is one. No row: no such record, or its raw record was dropped, or came after
-- those of its day were: a quarter-hour that could not be cut for want of them would get a negative piece.
-- $1 text: customer; $2 text: idempotency key. Primary keys of idempotency_key, of the event day's partition (the day as a subquery, for a
-- join would look into all of them), and of usage_void.
SELECT r.idempotency_key, r.event_time, r.api_key_id, r.model, r.labels,
  ARRAY(SELECT key FROM jsonb_each_text(r.measurements) ORDER BY key) AS meters,
  ARRAY(SELECT value FROM jsonb_each_text(r.measurements) ORDER BY key) AS quantities,
  r.catalog_id, v.reason, v.voided_at
FROM usage_record r
LEFT JOIN usage_void v ON v.customer_id = r.customer_id AND v.idempotency_key = r.idempotency_key AND v.event_day = r.event_day
WHERE r.customer_id = $1 AND r.idempotency_key = $2
  AND r.event_day = (SELECT event_day FROM idempotency_key WHERE customer_id = $1 AND idempotency_key = $2)
  AND r.event_day >= coalesce((SELECT raw_kept_from FROM deployment), '-infinity');

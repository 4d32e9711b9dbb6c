-- One page of a customer's raw records of an interval within one event day, by idempotency key; voided ones are left out.
-- $1 text: customer; $2 date: event day; $3 timestamptz: start, inclusive; $4 timestamptz: end, exclusive; $5 text: key to go on after;
-- $6 integer: page size. Walks the customer's range of the partition's primary key, and of usage_void's.
SELECT idempotency_key, event_time, api_key_id, model, labels,
  ARRAY(SELECT key FROM jsonb_each_text(measurements) ORDER BY key) AS meters,
  ARRAY(SELECT value FROM jsonb_each_text(measurements) ORDER BY key) AS quantities,
  catalog_id
FROM usage_record r
WHERE customer_id = $1 AND event_day = $2 AND event_time >= $3 AND event_time < $4 AND idempotency_key > $5
  AND NOT EXISTS (
    SELECT FROM usage_void v
    WHERE v.customer_id = r.customer_id AND v.idempotency_key = r.idempotency_key AND v.event_day = r.event_day)
ORDER BY idempotency_key
LIMIT $6;

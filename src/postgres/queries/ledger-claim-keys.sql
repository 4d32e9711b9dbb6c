-- Claims idempotency keys and returns those that were claimed before, with the fingerprint they stand for. The final SELECT sees the
-- table as it was before the INSERT, which is just what was claimed before: the shard lock keeps everyone else out. It looks nowhere
-- when every key was new, which is nearly always.
-- Columns of equal length, JSON arrays: $1 customer; $2 idempotency key; $3 event day; $4 fingerprint. Pairs of $1 and $2 are distinct.
-- Primary key of idempotency_key.
WITH sent AS MATERIALIZED (
  SELECT customer_id, idempotency_key, event_day::date, fingerprint
  FROM ROWS FROM (
    json_array_elements_text($1), json_array_elements_text($2), json_array_elements_text($3), json_array_elements_text($4)
  ) AS r(customer_id, idempotency_key, event_day, fingerprint)
), claimed AS (
  INSERT INTO idempotency_key (customer_id, idempotency_key, event_day, fingerprint)
  SELECT customer_id, idempotency_key, event_day, fingerprint FROM sent
  ON CONFLICT DO NOTHING
  RETURNING true
)
SELECT k.customer_id AS "customerId", k.idempotency_key AS "idempotencyKey", k.fingerprint
FROM sent JOIN idempotency_key k USING (customer_id, idempotency_key)
WHERE (SELECT count(*) FROM claimed) < (SELECT count(*) FROM sent);

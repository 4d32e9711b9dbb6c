-- Deletes the idempotency keys of one step of a day that is about to be dropped; returns the last key of the step, or nothing at the end.
-- $1 text, $2 text: customer and key to go on after; $3 integer: keys a step; $4 date: the day.
-- Walks the primary key of the day's partition.
WITH step AS MATERIALIZED (
  SELECT customer_id, idempotency_key FROM usage_record
  WHERE event_day = $4 AND (customer_id, idempotency_key) > ($1, $2)
  ORDER BY customer_id, idempotency_key
  LIMIT $3
), forgotten AS (
  DELETE FROM idempotency_key k USING step
  WHERE k.customer_id = step.customer_id AND k.idempotency_key = step.idempotency_key AND k.event_day = $4
)
SELECT customer_id, idempotency_key FROM step ORDER BY customer_id DESC, idempotency_key DESC LIMIT 1;

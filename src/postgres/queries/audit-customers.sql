-- A page of customers that hold raw records of some days, or anything that is kept for longer.
-- $1 text: customer to go on after, empty at the start; $2 integer: page size; $3 date: first day; $4 date: end, exclusive.
-- Jumps from customer to customer along the primary keys and report_sequence_key: a few look-ups each, however many rows they have.
WITH RECURSIVE customer AS (
  SELECT $1::text AS id, 0 AS n
  UNION ALL
  SELECT least(
    (SELECT customer_id FROM usage_record WHERE event_day >= $3 AND event_day < $4 AND customer_id > c.id ORDER BY customer_id LIMIT 1),
    (SELECT customer_id FROM rollup_quarter_hour WHERE customer_id > c.id ORDER BY customer_id LIMIT 1),
    (SELECT customer_id FROM rollup_day WHERE customer_id > c.id ORDER BY customer_id LIMIT 1),
    (SELECT customer_id FROM pending_window WHERE customer_id > c.id ORDER BY customer_id LIMIT 1),
    (SELECT customer_id FROM report WHERE customer_id > c.id ORDER BY customer_id LIMIT 1)
  ), n + 1
  FROM customer c WHERE id IS NOT NULL AND n < $2
)
SELECT id FROM customer WHERE n > 0 AND id IS NOT NULL ORDER BY n;

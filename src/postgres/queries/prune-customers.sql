-- The next customers that have pending windows, and whether any is older than a time.
-- $1 text: customer to go on after, empty at the start; $2 integer: page size; $3 timestamptz: the time.
-- Jumps from customer to customer along pending_window's primary key: two look-ups each, however many windows they have.
WITH RECURSIVE customer AS (
  SELECT $1::text AS id, 0 AS n
  UNION ALL
  SELECT (SELECT customer_id FROM pending_window WHERE customer_id > c.id ORDER BY customer_id LIMIT 1), n + 1
  FROM customer c WHERE id IS NOT NULL AND n < $2
)
SELECT id, EXISTS (SELECT FROM pending_window p WHERE p.customer_id = c.id AND p.window_start < $3) AS old
FROM customer c WHERE n > 0 AND id IS NOT NULL ORDER BY n;

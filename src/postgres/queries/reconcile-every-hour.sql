-- The next customers' meters that were ever reported to, or that usage of the range waits to be reported to, in their order: what a database
-- that was set back to a backup is about to report may be at Stripe already. Of one customer (the service's id or Stripe's) also those of some
-- event names. With the billing-period boundaries of each inside a range, as reconcile-due.
-- $1 text or null: customer; $2 text[]: event names; $3 timestamptz, $4 timestamptz: range; after which customer's meter to go on, or
-- null: $5 text, $6 text; $7 integer: most. Index report_counted, of which it skips from one customer's meter to the next;
-- pending_window_unplanned, all of it for each page.
WITH RECURSIVE one AS (
  SELECT coalesce((SELECT stripe_customer_id FROM account WHERE customer_id = $1), $1) AS stripe_customer_id
), reported AS (
  (SELECT stripe_customer_id, event_name FROM report
   WHERE ($1::text IS NULL OR stripe_customer_id = (SELECT stripe_customer_id FROM one))
     AND ($5::text IS NULL OR (stripe_customer_id, event_name) > ($5, $6::text))
   ORDER BY 1, 2 LIMIT 1)
  UNION ALL
  SELECT n.stripe_customer_id, n.event_name
  FROM reported r CROSS JOIN LATERAL (
    SELECT stripe_customer_id, event_name FROM report
    WHERE ($1::text IS NULL OR stripe_customer_id = (SELECT stripe_customer_id FROM one))
      AND (stripe_customer_id, event_name) > (r.stripe_customer_id, r.event_name)
    ORDER BY 1, 2 LIMIT 1) AS n
), chosen AS (
  SELECT * FROM (
    (SELECT stripe_customer_id, event_name FROM reported LIMIT $7)
    UNION
    SELECT one.stripe_customer_id, name FROM one, unnest($2::text[]) AS name
    WHERE $1::text IS NOT NULL AND ($5::text IS NULL OR (one.stripe_customer_id, name) > ($5, $6::text))
    UNION
    (SELECT DISTINCT coalesce(a.stripe_customer_id, p.customer_id) AS stripe_customer_id, p.event_name
     FROM pending_window p LEFT JOIN account a USING (customer_id)
     WHERE $1::text IS NULL AND p.total <> p.reported AND p.window_end > $3 AND p.window_start < $4
       AND (a.customer_id IS NOT NULL OR p.customer_id LIKE 'cus\_%')
       AND ($5::text IS NULL OR (coalesce(a.stripe_customer_id, p.customer_id), p.event_name) > ($5, $6::text))
     ORDER BY 1, 2 LIMIT $7)
  ) AS any_of_them
  ORDER BY 1, 2 LIMIT $7
)
SELECT s.stripe_customer_id, s.event_name, now() AS now,
  ARRAY(
    SELECT DISTINCT b.boundary FROM period_boundary b
    WHERE b.boundary > $3 AND b.boundary < $4 AND b.customer_id IN (
      SELECT s.stripe_customer_id UNION
      SELECT a.customer_id FROM account a WHERE a.stripe_customer_id = s.stripe_customer_id UNION
      SELECT r.customer_id FROM report r
      WHERE r.stripe_customer_id = s.stripe_customer_id AND r.event_name = s.event_name
        AND r.event_timestamp >= $3 AND r.event_timestamp < $4)
    ORDER BY b.boundary) AS boundaries
FROM chosen s
ORDER BY 1, 2;

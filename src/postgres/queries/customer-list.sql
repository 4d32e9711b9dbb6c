-- Customers that are mapped or have usage which was not reported yet, the most urgent first. One whose id is Stripe's own needs no mapping.
-- $1 boolean: only those that wait for a mapping; $2 integer: most rows.
-- Index pending_window_unplanned; reads all of account unless $1.
WITH unplanned AS MATERIALIZED (
  SELECT customer_id, event_name, sum(total::numeric - reported) AS quantity, min(window_start) AS oldest
  FROM pending_window WHERE total <> reported
  GROUP BY customer_id, event_name
), waiting AS (
  SELECT customer_id, min(oldest) AS oldest,
    json_agg(json_build_object('eventName', event_name, 'quantity', quantity::text) ORDER BY event_name COLLATE "C") AS waiting
  FROM unplanned GROUP BY customer_id
)
SELECT customer_id AS "customerId",
  coalesce(a.stripe_customer_id, CASE WHEN customer_id LIKE 'cus\_%' THEN customer_id END) AS "stripeCustomerId",
  a.source, a.mapped_at AS "mappedAt", coalesce(w.waiting, '[]') AS waiting,
  w.oldest AS "oldestWindowStart", w.oldest + interval '35 days' AS "billableUntil",
  -- Stripe customers whose metadata names this customer too.
  ARRAY(SELECT c.stripe_customer_id FROM customer_claim c
    WHERE c.customer_id = customer_id_of.customer_id AND NOT c.deleted AND c.stripe_customer_id IS DISTINCT FROM a.stripe_customer_id
    ORDER BY c.created_at, c.stripe_customer_id COLLATE "C") AS "alsoClaimedBy"
FROM (SELECT customer_id FROM waiting UNION SELECT customer_id FROM account WHERE NOT $1::boolean) AS customer_id_of
LEFT JOIN account a USING (customer_id)
LEFT JOIN waiting w USING (customer_id)
WHERE NOT $1::boolean OR a.customer_id IS NULL AND customer_id NOT LIKE 'cus\_%'
ORDER BY w.oldest NULLS LAST, customer_id COLLATE "C"
LIMIT $2;

-- Everything that entitlement and billing period of a customer follow from, of one snapshot.
-- $1 text: customer. Primary key of account; subscription_customer; invoice_customer.
WITH known AS (
  SELECT coalesce((SELECT stripe_customer_id FROM account WHERE customer_id = $1), $1) AS stripe_customer_id
)
SELECT
  (SELECT coalesce(json_agg(json_build_array(subscription_id, status,
     (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM period_end) * 1000)::bigint)), '[]')
   FROM subscription WHERE stripe_customer_id = known.stripe_customer_id) AS subscriptions,
  -- Unpaid: paid and void invoices are settled, a draft was not yet asked for.
  (SELECT coalesce(json_agg(json_build_array(subscription_id, (extract(epoch FROM payment_failed_at) * 1000)::bigint)), '[]')
   FROM invoice WHERE stripe_customer_id = known.stripe_customer_id AND payment_failed_at IS NOT NULL
     AND status IN ('open', 'uncollectible')) AS failed_invoices
FROM known;

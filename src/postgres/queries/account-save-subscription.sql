-- Stores a subscription as it is now.
-- $1 text: subscription; $2 text: Stripe customer; $3 text: status; $4, $5 timestamptz: current period, null where it has none. Primary key.
INSERT INTO subscription (subscription_id, stripe_customer_id, status, period_start, period_end)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (subscription_id) DO UPDATE
SET stripe_customer_id = excluded.stripe_customer_id, status = excluded.status, period_start = excluded.period_start,
  period_end = excluded.period_end, saved_at = now();

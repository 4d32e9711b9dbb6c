-- Stores an invoice as it is now; keeps the earliest payment failure ever given (least() passes over nulls).
-- $1 text: invoice; $2 text: Stripe customer; $3 text: subscription or empty; $4 text: status; each null where there is none: $5
-- timestamptz: payment failure, $6 timestamptz: when it becomes final by itself, $7 timestamptz: when it became final. Primary key.
INSERT INTO invoice AS t (invoice_id, stripe_customer_id, subscription_id, status, payment_failed_at, finalizes_at, finalized_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (invoice_id) DO UPDATE
SET stripe_customer_id = excluded.stripe_customer_id, subscription_id = excluded.subscription_id, status = excluded.status,
  payment_failed_at = least(t.payment_failed_at, excluded.payment_failed_at), finalizes_at = excluded.finalizes_at,
  finalized_at = excluded.finalized_at, saved_at = now();

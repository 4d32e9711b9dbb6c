-- Keeps what a Stripe customer's metadata names. $1 text: Stripe customer; $2 text: customer; $3 timestamptz: when Stripe made it;
-- $4 boolean: deleted, after which nothing can change it. Primary key.
INSERT INTO customer_claim AS c (stripe_customer_id, customer_id, created_at, deleted) VALUES ($1, $2, $3, $4)
ON CONFLICT (stripe_customer_id) DO UPDATE
SET customer_id = excluded.customer_id, created_at = excluded.created_at, deleted = excluded.deleted;

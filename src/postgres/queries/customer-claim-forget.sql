-- A Stripe customer's metadata names nobody. $1 text: Stripe customer. Primary key.
DELETE FROM customer_claim WHERE stripe_customer_id = $1;

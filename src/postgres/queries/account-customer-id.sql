-- The service's own id of a Stripe customer. $1 text: Stripe customer. Unique key of account.
SELECT customer_id FROM account WHERE stripe_customer_id = $1;

-- Mappings of a customer, or to a Stripe customer. $1 text: customer; $2 text: Stripe customer. Primary and unique key of account.
SELECT customer_id, stripe_customer_id, source FROM account WHERE customer_id = $1 OR stripe_customer_id = $2;

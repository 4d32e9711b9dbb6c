-- What the metadata of Stripe customers names. $1 text[]: Stripe customers. Primary key.
SELECT customer_id, deleted FROM customer_claim WHERE stripe_customer_id = ANY ($1::text[]);

-- Maps customers by the claims that stand. $1 text[]: customers, of which mappings by other claims are gone.
-- Primary key of account; index customer_claim_customer.
INSERT INTO account (customer_id, stripe_customer_id, source)
SELECT customer_id, stripe_customer_id, 'metadata' FROM standing_claim WHERE customer_id = ANY ($1::text[])
ON CONFLICT (customer_id) DO NOTHING
RETURNING customer_id, stripe_customer_id;

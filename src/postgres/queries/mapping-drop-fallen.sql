-- Takes away mappings by claims that do not stand any more. mapping-add-standing follows in the same transaction.
-- $1 text[]: customers. Primary key of account; index customer_claim_customer.
DELETE FROM account a
WHERE a.customer_id = ANY ($1::text[]) AND a.source = 'metadata' AND NOT EXISTS (
  SELECT FROM standing_claim s WHERE s.customer_id = a.customer_id AND s.stripe_customer_id = a.stripe_customer_id)
RETURNING customer_id, stripe_customer_id;

-- Takes away the mapping of a customer, and that to a Stripe customer; mapping-set follows in the same transaction.
-- $1 text: customer; $2 text: Stripe customer. Primary and unique key of account.
DELETE FROM account WHERE customer_id = $1 OR stripe_customer_id = $2;

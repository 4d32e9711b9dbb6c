-- Subscriptions known of a Stripe customer. $1 text: Stripe customer. Index subscription_customer.
SELECT subscription_id FROM subscription WHERE stripe_customer_id = $1 ORDER BY subscription_id COLLATE "C";

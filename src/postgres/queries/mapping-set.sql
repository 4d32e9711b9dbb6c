-- Maps a customer by an operator's word. $1 text: customer; $2 text: Stripe customer. Neither is mapped otherwise.
INSERT INTO account (customer_id, stripe_customer_id, source) VALUES ($1, $2, 'operator');

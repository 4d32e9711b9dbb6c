-- Whether the ledger has ever heard of a customer, by use or by a mapping; and the customer for whom a Stripe customer of that id pays.
-- $1 text: customer. Primary keys of series, pending_window and account, unique key of account.
SELECT EXISTS (SELECT FROM series WHERE customer_id = $1) OR EXISTS (SELECT FROM pending_window WHERE customer_id = $1)
  OR EXISTS (SELECT FROM account WHERE customer_id = $1) AS known,
  (SELECT customer_id FROM account WHERE stripe_customer_id = $1) AS "paidFor";

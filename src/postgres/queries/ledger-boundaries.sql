-- Billing-period boundaries of customers, ascending within each. $1 text[]: customers. Primary key of period_boundary.
SELECT customer_id, boundary FROM period_boundary WHERE customer_id = ANY ($1::text[]) ORDER BY customer_id, boundary;

-- Removes an invoice that is known as a draft; the periods that it had come back, and go with it (ON DELETE CASCADE).
-- $1 text: invoice. Primary keys of invoice and invoiced_period.
WITH had AS MATERIALIZED (
  SELECT p.stripe_customer_id, p.event_name, p.period_start, p.period_end
  FROM invoiced_period p JOIN invoice i USING (invoice_id)
  WHERE i.invoice_id = $1 AND i.status = 'draft'
), gone AS (
  DELETE FROM invoice WHERE invoice_id = $1 AND status = 'draft'
)
SELECT stripe_customer_id, event_name, period_start, period_end FROM had;

-- Holds reports, which the transaction has locked, and asks for their hours to be compared with Stripe's sums: only those tell what became
-- of them. $1 bigint: epoch; $2 text[]: identifiers; $3 text: reason. Primary keys of report and reconcile_request.
WITH held AS (
  UPDATE report
  SET state = 'held', reason = $3, settled_at = now(), lease_epoch = $1
  WHERE identifier = ANY ($2::text[])
  RETURNING stripe_customer_id, event_name, date_bin('1 hour', event_timestamp, timestamptz 'epoch') AS hour
)
INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason)
SELECT DISTINCT stripe_customer_id, event_name, hour, hour + interval '1 hour', $3 FROM held
ON CONFLICT (stripe_customer_id, event_name, span_start, span_end) DO UPDATE SET requested_at = now();

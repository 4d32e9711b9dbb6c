-- Requests made by some time for these hours are done, or wait without an operator.
-- $1 text: Stripe customer; $2 text: event name; $3 timestamptz: made until; starts of hours: $4 timestamptz[] done, $5 timestamptz[]
-- waiting. Primary key of reconcile_request.
WITH done AS (
  DELETE FROM reconcile_request
  WHERE stripe_customer_id = $1 AND event_name = $2 AND requested_at <= $3 AND span_start = ANY ($4::timestamptz[])
    AND span_end = span_start + interval '1 hour'
)
UPDATE reconcile_request SET apply = false, write_off = false
WHERE stripe_customer_id = $1 AND event_name = $2 AND requested_at <= $3 AND span_start = ANY ($5::timestamptz[])
  AND (apply OR write_off);

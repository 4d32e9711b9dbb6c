-- Asks for a comparison with Stripe's sums of every (customer, meter, hour) that an error report may be about: those of the reports that
-- it names, and of all that were first sent while Stripe validated, a quarter of an hour to spare on both sides for clocks and for
-- requests that were long under way. An hour that was compared since, and agreed, needs no other look: its reports are reconciled.
-- Runs behind lease-lock-out. A request that is there is dated anew, so that one which is just being served is not lost.
-- $1 text[]: identifiers; $2 text or null: meter, null for all; $3, $4 timestamptz: validation window.
-- Primary keys of report and reconcile_request; indexes report_unreconciled and report_due.
INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason)
SELECT stripe_customer_id, event_name, hour, hour + interval '1 hour', 'meter_error'
FROM (
  SELECT stripe_customer_id, event_name, date_trunc('hour', event_timestamp, 'UTC') AS hour
  FROM report
  WHERE identifier = ANY ($1::text[])
  UNION
  SELECT stripe_customer_id, event_name, date_trunc('hour', event_timestamp, 'UTC')
  FROM report
  WHERE reconciled_at IS NULL AND state IN ('sent', 'accepted') AND settled_at >= $3::timestamptz - interval '15 minutes'
    AND first_attempt_at BETWEEN $3::timestamptz - interval '15 minutes' AND $4::timestamptz + interval '15 minutes'
    AND ($2::text IS NULL OR event_name = $2)
  UNION
  SELECT stripe_customer_id, event_name, date_trunc('hour', event_timestamp, 'UTC')
  FROM report
  WHERE state IN ('planned', 'sending', 'unknown')
    AND first_attempt_at BETWEEN $3::timestamptz - interval '15 minutes' AND $4::timestamptz + interval '15 minutes'
    AND ($2::text IS NULL OR event_name = $2)
) AS spans
ON CONFLICT (stripe_customer_id, event_name, span_start, span_end) DO UPDATE
SET reason = excluded.reason, requested_at = now();

-- Closes drifts that were just booked, or left to invoices. $1 text: Stripe customer; $2 text: event name; $3 json: as for reconcile-drifts. Index
-- drift_open.
UPDATE drift d SET state = l.state, hindrance = '', booking = l.booking, repair = l.repair, settled_at = now()
FROM json_to_recordset($3::json) AS l("startMs" bigint, "endMs" bigint, state text, booking text, repair text)
WHERE d.stripe_customer_id = $1 AND d.event_name = $2 AND d.state = 'open' AND l.state IN ('repaired', 'invoiced')
  AND d.span_start = to_timestamp(l."startMs" / 1000.0) AND d.span_end = to_timestamp(l."endMs" / 1000.0);

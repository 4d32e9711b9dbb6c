-- Records how sends ended; accepted values are added to their windows. Rows that this epoch is not sending are let be, so a repeat adds
-- nothing. What was surely not processed starts its resend horizon afresh, and may go through any sink.
-- What is held after a send of unknown fate may have been counted then: its hour is to be compared with Stripe's sums.
-- The condition is a CASE to hide it from the planner: it takes reports that are being sent for one or none, and would compare each of
-- them with every settlement.
-- Windows are locked in the order of the primary key, as appliers do.
-- $1 bigint: epoch; $2 json: settlements. Primary keys of report, pending_window and reconcile_request.
WITH settled AS (
  UPDATE report r
  SET state = s.state, reason = s.reason, message = s.message, attempts = s.attempts,
    first_attempt_at = CASE WHEN s.untouched THEN NULL ELSE r.first_attempt_at END,
    sink = CASE WHEN s.state = 'planned' AND s.untouched THEN '' ELSE r.sink END,
    next_attempt_at = now() + s."retryAfterMs" * interval '1 ms',
    settled_at = CASE WHEN s.state IN ('sent', 'accepted', 'held') THEN now() END
  FROM json_to_recordset($2::json) AS s(identifier text, state text, reason text, message text, attempts integer,
    untouched boolean, "retryAfterMs" bigint)
  WHERE r.identifier = s.identifier AND CASE r.state WHEN 'sending' THEN r.lease_epoch = $1 ELSE false END
  RETURNING r.customer_id, r.window_start, r.event_name, r.payload, r.value, r.state, r.stripe_customer_id, r.event_timestamp, r.first_attempt_at
), doubtful AS (
  INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason)
  SELECT DISTINCT stripe_customer_id, event_name, hour, hour + interval '1 hour', 'refused_after_send'
  FROM settled, date_bin('1 hour', event_timestamp, timestamptz 'epoch') AS hour
  WHERE state = 'held' AND first_attempt_at IS NOT NULL
  ON CONFLICT (stripe_customer_id, event_name, span_start, span_end) DO UPDATE SET requested_at = now()
), taken AS MATERIALIZED (
  SELECT customer_id, window_start, event_name, payload, sum(value)::bigint AS value
  FROM settled WHERE state = 'accepted' GROUP BY customer_id, window_start, event_name, payload
), locked AS MATERIALIZED (
  SELECT p.customer_id, p.window_start, p.event_name, p.payload, t.value
  FROM taken t JOIN pending_window p USING (customer_id, window_start, event_name, payload)
  ORDER BY p.customer_id COLLATE "C", p.window_start, p.event_name COLLATE "C", p.payload COLLATE "C"
  FOR NO KEY UPDATE OF p
)
UPDATE pending_window p SET accepted = p.accepted + l.value
FROM locked l
WHERE p.customer_id = l.customer_id AND p.window_start = l.window_start AND p.event_name = l.event_name AND p.payload = l.payload;

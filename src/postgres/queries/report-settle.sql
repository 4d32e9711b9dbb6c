-- Records how sends ended; accepted values are added to their windows. Rows that this epoch is not sending are let be, so a repeat adds
-- nothing. What was surely not processed starts its resend horizon afresh, and may go through any sink.
-- Windows are locked in the order of the primary key, as appliers do.
-- $1 bigint: epoch; $2 json: settlements. Primary keys of report and pending_window.
WITH settled AS (
  UPDATE report r
  SET state = s.state, reason = s.reason, message = s.message, attempts = s.attempts,
    first_attempt_at = CASE WHEN s.untouched THEN NULL ELSE r.first_attempt_at END,
    sink = CASE WHEN s.state = 'planned' AND s.untouched THEN '' ELSE r.sink END,
    next_attempt_at = now() + s."retryAfterMs" * interval '1 ms',
    settled_at = CASE WHEN s.state IN ('sent', 'accepted', 'held') THEN now() END
  FROM json_to_recordset($2::json) AS s(identifier text, state text, reason text, message text, attempts integer,
    untouched boolean, "retryAfterMs" bigint)
  WHERE r.identifier = s.identifier AND r.state = 'sending' AND r.lease_epoch = $1
  RETURNING r.customer_id, r.window_start, r.event_name, r.payload, r.value, r.state
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

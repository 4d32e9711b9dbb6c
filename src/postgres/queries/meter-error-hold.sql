-- Holds reports that error reports name, with the code and the message of the earliest that does: so that any order of error reports ends
-- the same. What was accepted is taken back from its window, since Stripe does not bill it.
-- Only what Stripe is believed to have counted, or may have: held for another reason, superseded and planned ones stay, bookings were
-- never sent. A report whose hour Stripe's sums were found to show after the error is let be too: the error was about an earlier send.
-- Comes back: reason and number of reports held by this call; under the empty reason, those that are being sent.
-- Runs behind lease-lock-out. Windows are locked in the order of the primary key, as appliers do.
-- $1 text[]: identifiers; $2 timestamptz: end of the validation window. A report is sent for a day at most, so that error reports further
-- away are not about it. Primary keys of report and pending_window; index meter_error_validation.
WITH naming AS MATERIALIZED (
  SELECT s.identifier, e.code, coalesce(s.message, '') AS message, e.validation_start, e.validation_end, e.event_id
  FROM meter_error e CROSS JOIN LATERAL jsonb_to_recordset(e.samples) AS s(identifier text, message text)
  WHERE e.validation_end BETWEEN $2::timestamptz - interval '1 day' AND $2::timestamptz + interval '1 day'
    AND s.identifier = ANY ($1::text[])
), told AS MATERIALIZED (
  SELECT DISTINCT ON (identifier) identifier, code, message, max(validation_end) OVER (PARTITION BY identifier) AS latest
  FROM naming
  ORDER BY identifier, validation_start, event_id COLLATE "C", code COLLATE "C", message COLLATE "C"
), named AS MATERIALIZED (
  SELECT r.identifier, r.state, r.reason, r.message, r.reconciled_at, t.code, t.message AS said, t.latest
  FROM report r JOIN told t USING (identifier)
  WHERE r.kind IN ('usage', 'retry', 'repair', 'carry')
  FOR NO KEY UPDATE OF r
), held AS (
  UPDATE report r
  SET state = 'held', reason = n.code, message = n.said, settled_at = now()
  FROM named n
  WHERE r.identifier = n.identifier AND n.state IN ('sent', 'accepted', 'unknown')
    AND (n.reconciled_at IS NULL OR n.reconciled_at < n.latest)
  RETURNING r.customer_id, r.window_start, r.event_name, r.payload, r.value, r.reason, n.state AS before
), retold AS (
  UPDATE report r SET reason = n.code, message = n.said
  FROM named n
  WHERE r.identifier = n.identifier AND n.state = 'held' AND (n.reason, n.message) <> (n.code, n.said)
    AND EXISTS (SELECT FROM naming o WHERE o.identifier = n.identifier AND (o.code, o.message) = (n.reason, n.message))
), taken AS MATERIALIZED (
  SELECT customer_id, window_start, event_name, payload, sum(value)::bigint AS value
  FROM held WHERE before = 'accepted' GROUP BY customer_id, window_start, event_name, payload
), locked AS MATERIALIZED (
  SELECT p.customer_id, p.window_start, p.event_name, p.payload, t.value
  FROM taken t JOIN pending_window p USING (customer_id, window_start, event_name, payload)
  ORDER BY p.customer_id COLLATE "C", p.window_start, p.event_name COLLATE "C", p.payload COLLATE "C"
  FOR NO KEY UPDATE OF p
), taken_back AS (
  UPDATE pending_window p SET accepted = p.accepted - l.value
  FROM locked l
  WHERE p.customer_id = l.customer_id AND p.window_start = l.window_start AND p.event_name = l.event_name AND p.payload = l.payload
)
SELECT reason, count(*) AS reports FROM held GROUP BY reason
UNION ALL
SELECT '', count(*) FROM named WHERE state = 'sending' HAVING count(*) > 0;

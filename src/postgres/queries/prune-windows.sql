-- Deletes those of a customer's next old windows that nothing will ever ask for again, each with all its reports, or leaves it whole. Comes
-- back: how many were looked at, the last of them to go on after, and what was deleted. Why each condition is there: prune.ts.
-- Runs behind lease-lock-out, so no report changes meanwhile; windows that somebody else has locked are left for the next time.
-- $1 text: customer; $2 timestamptz: older than this; to go on after: $3 timestamptz: start, $4 text: event name, $5 text: payload;
-- $6 integer: most windows; $7 date[]: days whose raw records are kept.
-- Range of pending_window's primary key; report_sequence_key; of customers' meters report_uncompared, report_due, report_held,
-- drift_open and the primary key of reconcile_request; invoiced_period_customer; subscription_customer; drift_booking,
-- drift_repair; report_origin_key.
WITH looked AS MATERIALIZED (
  SELECT window_start, event_name, payload FROM pending_window
  WHERE customer_id = $1 AND window_start < $2 AND (window_start, event_name, payload) > ($3, $4::text, $5::text)
  ORDER BY window_start, event_name, payload
  LIMIT $6
), locked AS MATERIALIZED (
  SELECT p.window_start, p.event_name, p.payload
  FROM looked l JOIN pending_window p ON p.customer_id = $1 AND p.window_start = l.window_start AND p.event_name = l.event_name
    AND p.payload = l.payload
  WHERE p.total = p.reported AND (p.window_start AT TIME ZONE 'UTC')::date <> ALL ($7::date[])
  ORDER BY p.window_start, p.event_name COLLATE "C", p.payload COLLATE "C"
  FOR UPDATE OF p SKIP LOCKED
), told AS MATERIALIZED (
  SELECT r.* FROM locked l JOIN report r ON r.customer_id = $1 AND r.event_name = l.event_name AND r.payload = l.payload
    AND r.window_start = l.window_start
), busy AS MATERIALIZED (
  SELECT t.stripe_customer_id, t.event_name
  FROM (SELECT DISTINCT stripe_customer_id, event_name FROM told) t
  WHERE EXISTS (SELECT FROM report u WHERE u.stripe_customer_id = t.stripe_customer_id AND u.event_name = t.event_name
      AND u.event_timestamp < $2 AND u.reconciled_at IS NULL AND u.state IN ('sent', 'accepted') AND u.kind <> 'unbilled')
    OR EXISTS (SELECT FROM report u WHERE u.stripe_customer_id = t.stripe_customer_id AND u.event_name = t.event_name
      AND u.event_timestamp < $2 AND u.state IN ('planned', 'sending', 'unknown'))
    OR EXISTS (SELECT FROM report u WHERE u.stripe_customer_id = t.stripe_customer_id AND u.event_name = t.event_name
      AND u.event_timestamp < $2 AND u.state = 'held' AND u.written_off_at IS NULL)
    OR EXISTS (SELECT FROM drift d WHERE d.stripe_customer_id = t.stripe_customer_id AND d.event_name = t.event_name
      AND d.span_start < $2 AND d.state = 'open')
    OR EXISTS (SELECT FROM reconcile_request q WHERE q.stripe_customer_id = t.stripe_customer_id AND q.event_name = t.event_name
      AND q.span_start < $2)
), kept AS MATERIALIZED (
  SELECT DISTINCT t.window_start, t.event_name, t.payload FROM told t
  WHERE NOT (t.state = 'superseded' OR t.state = 'accepted' AND t.reconciled_at IS NOT NULL OR t.state = 'held' AND t.written_off_at IS NOT NULL)
    OR t.event_timestamp >= $2 OR coalesce(t.written_off_at, t.settled_at, t.planned_at) >= $2
    OR EXISTS (SELECT FROM busy b WHERE b.stripe_customer_id = t.stripe_customer_id AND b.event_name = t.event_name)
    OR EXISTS (
      SELECT FROM invoiced_period ip JOIN invoice i USING (invoice_id)
      WHERE ip.stripe_customer_id = t.stripe_customer_id AND ip.event_name = t.event_name
        AND ip.period_end > t.event_timestamp AND ip.period_start <= t.event_timestamp
        AND (ip.period_end > $2 OR ip.closed_at IS NULL AND coalesce(i.finalized_at, now()) >= ip.period_end))
    OR EXISTS (
      SELECT FROM subscription s
      WHERE s.stripe_customer_id = t.stripe_customer_id AND s.period_start <= t.event_timestamp AND s.period_end > $2)
    OR EXISTS (SELECT FROM drift d WHERE d.booking = t.identifier)
    OR EXISTS (SELECT FROM drift d WHERE d.repair = t.identifier)
    OR EXISTS (
      SELECT FROM report o
      WHERE o.origin = t.identifier
        AND (o.customer_id, o.window_start, o.event_name, o.payload) <> (t.customer_id, t.window_start, t.event_name, t.payload))
), gone AS MATERIALIZED (
  SELECT l.* FROM locked l
  WHERE NOT EXISTS (
    SELECT FROM kept k WHERE k.window_start = l.window_start AND k.event_name = l.event_name AND k.payload = l.payload)
), reports AS (
  DELETE FROM report r USING gone g
  WHERE r.customer_id = $1 AND r.event_name = g.event_name AND r.payload = g.payload AND r.window_start = g.window_start
  RETURNING 1
), windows AS (
  DELETE FROM pending_window p USING gone g
  WHERE p.customer_id = $1 AND p.window_start = g.window_start AND p.event_name = g.event_name AND p.payload = g.payload
  RETURNING 1
), last AS (
  SELECT window_start, event_name, payload FROM looked ORDER BY window_start DESC, event_name DESC, payload DESC LIMIT 1
)
SELECT (SELECT count(*) FROM looked)::integer AS looked, (SELECT count(*) FROM windows)::integer AS windows,
  (SELECT count(*) FROM reports)::integer AS reports, last.*
FROM (SELECT) AS one LEFT JOIN last ON true;

-- Keeps the drifts of spans that were looked at: one that was found again stays, with the time since when these very numbers are seen, one
-- that was repaired says by what, one that is left to invoices says so (both by reconcile-drift-settled.sql), and any other that is open in these
-- spans is gone. One of these that no earlier look had found is new.
-- An open one is due again after the lag, then after as long again as it is old, but within a day.
-- $1 text: Stripe customer; $2 text: event name; $3 json: spans with what was found; $4 bigint: lag in ms. Index drift_open.
WITH looked AS MATERIALIZED (
  SELECT to_timestamp("startMs" / 1000.0)::timestamptz(0) AS span_start, to_timestamp("endMs" / 1000.0)::timestamptz(0) AS span_end,
    state, expected, counted, explanation, hindrance, booking, repair
  FROM json_to_recordset($3::json) AS s("startMs" bigint, "endMs" bigint, state text, expected bigint, counted bigint, explanation text,
    hindrance text, booking text, repair text)
), gone AS (
  UPDATE drift d SET state = 'gone', settled_at = now()
  FROM looked l
  WHERE d.stripe_customer_id = $1 AND d.event_name = $2 AND d.state = 'open' AND d.span_start < l.span_end AND d.span_end > l.span_start
    AND NOT EXISTS (
      SELECT FROM looked s WHERE s.span_start = d.span_start AND s.span_end = d.span_end AND s.state IN ('open', 'repaired', 'invoiced'))
)
INSERT INTO drift AS d (stripe_customer_id, event_name, span_start, span_end, expected, counted, explanation, hindrance, look_at)
SELECT $1, $2, span_start, span_end, expected, counted, explanation, hindrance, now() + $4::bigint * interval '1 ms'
FROM looked WHERE state IN ('open', 'repaired', 'invoiced')
ON CONFLICT (stripe_customer_id, event_name, span_start, span_end) WHERE state = 'open' DO UPDATE
SET expected = excluded.expected, counted = excluded.counted, explanation = excluded.explanation, hindrance = excluded.hindrance,
  looked_at = now(),
  found_at = CASE WHEN (d.expected, d.counted) = (excluded.expected, excluded.counted) THEN d.found_at ELSE now() END,
  look_at = now() + CASE WHEN (d.expected, d.counted) = (excluded.expected, excluded.counted)
    THEN least(greatest(now() - d.found_at, $4::bigint * interval '1 ms'), interval '1 day') ELSE $4::bigint * interval '1 ms' END;

-- Makes these the periods of an invoice, whose row is there; the periods that it had before come back. Periods that say the same already
-- are let be, as are closed ones that the invoice has no more. Changed are those of a draft, and of one that has just become final: the
-- leader is at neither, so that nobody waits in a circle.
-- $1 text: invoice; $2 json: periods, one a meter and start. Primary key of invoiced_period.
WITH before AS MATERIALIZED (
  SELECT event_name, period_start, period_end, stripe_customer_id, billed FROM invoiced_period WHERE invoice_id = $1
), given AS MATERIALIZED (
  SELECT "eventName" AS event_name, to_timestamp("startMs" / 1000.0) AS period_start, to_timestamp("endMs" / 1000.0) AS period_end,
    "stripeCustomerId" AS stripe_customer_id, billed
  FROM json_to_recordset($2::json) AS r("eventName" text, "startMs" bigint, "endMs" bigint, "stripeCustomerId" text, billed bigint)
), gone AS (
  DELETE FROM invoiced_period p
  WHERE p.invoice_id = $1 AND p.closed_at IS NULL
    AND NOT EXISTS (SELECT FROM given g WHERE g.event_name = p.event_name AND g.period_start = p.period_start)
), saved AS (
  INSERT INTO invoiced_period (invoice_id, event_name, period_start, period_end, stripe_customer_id, billed)
  SELECT $1, event_name, period_start, period_end, stripe_customer_id, billed FROM given g
  WHERE NOT EXISTS (
    SELECT FROM before b
    WHERE b.event_name = g.event_name AND b.period_start = g.period_start AND b.period_end = g.period_end
      AND b.stripe_customer_id = g.stripe_customer_id AND b.billed IS NOT DISTINCT FROM g.billed)
  ON CONFLICT (invoice_id, event_name, period_start) DO UPDATE
  SET period_end = excluded.period_end, stripe_customer_id = excluded.stripe_customer_id, billed = excluded.billed
)
SELECT stripe_customer_id, event_name, period_start, period_end FROM before;

-- Makes these the periods of an invoice, whose row is there; the periods that it had before come back. One that was closed stays.
-- $1 text: invoice; $2 text: Stripe customer; $3 json: periods, one a meter and start. Primary key of invoiced_period.
WITH before AS MATERIALIZED (
  SELECT event_name, period_start, period_end FROM invoiced_period WHERE invoice_id = $1
), given AS MATERIALIZED (
  SELECT "eventName" AS event_name, to_timestamp("startMs" / 1000.0) AS period_start, to_timestamp("endMs" / 1000.0) AS period_end, billed
  FROM json_to_recordset($3::json) AS r("eventName" text, "startMs" bigint, "endMs" bigint, billed bigint)
), gone AS (
  DELETE FROM invoiced_period p
  WHERE p.invoice_id = $1 AND p.closed_at IS NULL
    AND NOT EXISTS (SELECT FROM given g WHERE g.event_name = p.event_name AND g.period_start = p.period_start)
), saved AS (
  INSERT INTO invoiced_period (invoice_id, event_name, period_start, period_end, stripe_customer_id, billed)
  SELECT $1, event_name, period_start, period_end, $2, billed FROM given
  ON CONFLICT (invoice_id, event_name, period_start) DO UPDATE
  SET period_end = excluded.period_end, stripe_customer_id = excluded.stripe_customer_id, billed = excluded.billed
)
SELECT event_name, period_start, period_end FROM before;

-- Asks the leader to do something about drift in some hours; what is asked last counts. $1 json: hours; $2 text: 'repair' or 'write_off'.
-- Primary key of reconcile_request.
WITH asked AS (
  INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason, apply, write_off)
  SELECT "stripeCustomerId", "eventName", to_timestamp("startMs" / 1000.0), to_timestamp("startMs" / 1000.0) + interval '1 hour', 'operator',
    $2::text = 'repair', $2::text = 'write_off'
  FROM json_to_recordset($1::json) AS h("stripeCustomerId" text, "eventName" text, "startMs" bigint)
  ON CONFLICT (stripe_customer_id, event_name, span_start, span_end) DO UPDATE
  SET apply = excluded.apply, write_off = excluded.write_off, requested_at = now()
)
SELECT now() AS now;

-- Asks the leader to repair what can be repaired in some hours. $1 json: hours. Primary key of reconcile_request.
WITH asked AS (
  INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason, apply)
  SELECT "stripeCustomerId", "eventName", to_timestamp("startMs" / 1000.0), to_timestamp("startMs" / 1000.0) + interval '1 hour', 'operator', true
  FROM json_to_recordset($1::json) AS h("stripeCustomerId" text, "eventName" text, "startMs" bigint)
  ON CONFLICT (stripe_customer_id, event_name, span_start, span_end) DO UPDATE SET apply = true, requested_at = now()
)
SELECT now() AS now;

-- How many of an operator's requests are open. $1 json: hours. Primary key of reconcile_request.
SELECT count(*) AS hours
FROM reconcile_request q
JOIN json_to_recordset($1::json) AS h("stripeCustomerId" text, "eventName" text, "startMs" bigint)
  ON q.stripe_customer_id = h."stripeCustomerId" AND q.event_name = h."eventName" AND q.span_start = to_timestamp(h."startMs" / 1000.0)
WHERE q.apply OR q.write_off;

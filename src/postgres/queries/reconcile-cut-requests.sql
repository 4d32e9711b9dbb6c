-- Makes requests for any span into requests for the hours that it touches. Primary key of reconcile_request.
WITH odd AS (
  DELETE FROM reconcile_request
  WHERE span_start <> date_bin('1 hour', span_start, timestamptz 'epoch') OR span_end <> span_start + interval '1 hour'
  RETURNING *
)
INSERT INTO reconcile_request AS q (stripe_customer_id, event_name, span_start, span_end, reason, requested_at, apply, write_off)
SELECT stripe_customer_id, event_name, hour, hour + interval '1 hour', min(reason), max(requested_at), bool_or(apply), bool_or(write_off)
FROM odd, generate_series(date_bin('1 hour', span_start, timestamptz 'epoch'), span_end - interval '1 second', interval '1 hour') AS hour
GROUP BY stripe_customer_id, event_name, hour
ON CONFLICT (stripe_customer_id, event_name, span_start, span_end) DO UPDATE
SET requested_at = greatest(q.requested_at, excluded.requested_at), apply = q.apply OR excluded.apply,
  write_off = q.write_off OR excluded.write_off;

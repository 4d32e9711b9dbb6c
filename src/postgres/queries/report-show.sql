-- One report, and what explains it: its window, what it replaces and what replaced it, Stripe's error reports that name it, and how many
-- records its window holds. One JSON object, or no row. $1 text: identifier.
-- Primary keys of report, pending_window; unique key of origin; the customer's range of usage_record.
SELECT json_build_object(
  'report', to_jsonb(r) - 'value' || jsonb_build_object('value', r.value::text),
  'window', (
    SELECT json_build_object('start', p.window_start, 'end', p.window_end, 'total', p.total::text, 'reported', p.reported::text,
      'accepted', p.accepted::text)
    FROM pending_window p
    WHERE p.customer_id = r.customer_id AND p.window_start = r.window_start AND p.event_name = r.event_name AND p.payload = r.payload),
  'origin', (SELECT json_build_object('identifier', o.identifier, 'state', o.state, 'reason', o.reason) FROM report o WHERE o.identifier = r.origin),
  'followers', (
    SELECT coalesce(json_agg(json_build_object('identifier', f.identifier, 'kind', f.kind, 'state', f.state) ORDER BY f.sequence), '[]')
    FROM report f WHERE f.origin = r.identifier),
  'errors', (
    SELECT coalesce(json_agg(json_build_object('event', e.event_id, 'code', e.code, 'message', s.value ->> 'message', 'receivedAt', e.received_at)), '[]')
    FROM meter_error e CROSS JOIN LATERAL jsonb_array_elements(e.samples) AS s WHERE s.value ->> 'identifier' = r.identifier),
  'records', (
    SELECT count(*) FROM usage_record u JOIN pending_window p
      ON p.customer_id = r.customer_id AND p.window_start = r.window_start AND p.event_name = r.event_name AND p.payload = r.payload
    WHERE u.customer_id = r.customer_id AND u.event_time >= p.window_start AND u.event_time < p.window_end
      AND u.event_day = (p.window_start AT TIME ZONE 'UTC')::date)
) AS shown
FROM report r WHERE r.identifier = $1;

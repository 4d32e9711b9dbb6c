-- A customer's pending windows of an interval, each beside what its reports add up to; also windows that only reports tell of.
-- $1 text: customer; $2 timestamptz: start, inclusive; $3 timestamptz: end, exclusive.
-- Range of pending_window's primary key; report_sequence_key (from Postgres 18 on it skips to the interval, before that it reads the
-- customer's part).
SELECT coalesce(p.window_start, r.window_start) AS window_start, coalesce(p.event_name, r.event_name) AS event_name,
  coalesce(p.payload, r.payload) AS payload, p.window_end, p.total, p.reported, p.accepted, p.next_sequence,
  coalesce(r.reported, 0) AS outbox_reported, coalesce(r.accepted, 0) AS outbox_accepted,
  coalesce(r.reports, 0) AS outbox_reports, coalesce(r.next_sequence, 0) AS outbox_next_sequence
FROM (SELECT * FROM pending_window WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3) p
FULL JOIN (
  SELECT window_start, event_name, payload,
    coalesce(sum(value) FILTER (WHERE kind = 'usage'), 0)::bigint AS reported,
    coalesce(sum(value) FILTER (WHERE state = 'accepted'), 0)::bigint AS accepted,
    count(*)::integer AS reports, max(sequence) + 1 AS next_sequence
  FROM report
  WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3
  GROUP BY window_start, event_name, payload
) r USING (window_start, event_name, payload)
ORDER BY 1, 2, 3;

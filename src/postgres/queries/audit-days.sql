-- UTC days in which a customer has anything, ascending.
-- $1 text: customer; $2 date: first day; $3 date: end, exclusive; $4 date[]: days whose raw records are kept.
-- Jumps from day to day along the primary keys, but for reports, of which it reads the customer's part of report_sequence_key.
WITH RECURSIVE bounds AS (
  SELECT $2::date::timestamp AT TIME ZONE 'UTC' AS start, $3::date::timestamp AT TIME ZONE 'UTC' AS stop
), quarter_hour AS (
  SELECT (SELECT min(window_start) FROM rollup_quarter_hour WHERE customer_id = $1 AND window_start >= b.start) AS at FROM bounds b
  UNION ALL
  SELECT (SELECT min(window_start) FROM rollup_quarter_hour
    WHERE customer_id = $1 AND window_start >= date_trunc('day', q.at, 'UTC') + interval '1 day')
  FROM quarter_hour q, bounds b WHERE q.at < b.stop
), day AS (
  SELECT (SELECT min(window_start) FROM rollup_day WHERE customer_id = $1 AND window_start >= b.start) AS at FROM bounds b
  UNION ALL
  SELECT (SELECT min(window_start) FROM rollup_day
    WHERE customer_id = $1 AND window_start >= date_trunc('day', d.at, 'UTC') + interval '1 day')
  FROM day d, bounds b WHERE d.at < b.stop
), pending AS (
  SELECT (SELECT min(window_start) FROM pending_window WHERE customer_id = $1 AND window_start >= b.start) AS at FROM bounds b
  UNION ALL
  SELECT (SELECT min(window_start) FROM pending_window
    WHERE customer_id = $1 AND window_start >= date_trunc('day', p.at, 'UTC') + interval '1 day')
  FROM pending p, bounds b WHERE p.at < b.stop
)
SELECT DISTINCT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day
FROM (
  SELECT at FROM quarter_hour UNION ALL SELECT at FROM day UNION ALL SELECT at FROM pending
  UNION ALL
  SELECT window_start FROM report WHERE customer_id = $1
  UNION ALL
  SELECT kept::timestamp AT TIME ZONE 'UTC' FROM unnest($4::date[]) AS kept
  WHERE EXISTS (SELECT FROM usage_record r WHERE r.customer_id = $1 AND r.event_day = kept)
) AS found, bounds b
WHERE at >= b.start AND at < b.stop
ORDER BY day;

-- Counts a key from the ledger: days from rollups, minutes from raw records that are not void. The transaction holds the customer's shard and
-- has cleared the counters.
-- $1 text: customer; $2 text: API key; $3 text[]: meters that count; $4 text: the meter that counts records; $5 timestamptz: first minute
-- that matters. Ranges of rollup_day's primary key and of those of the days' partitions of usage_record (all of the customer's day).
WITH sums AS (
  SELECT 'minute' AS kind, date_bin('1 minute', r.event_time, timestamptz 'epoch') AS window_start,
    sum((SELECT coalesce(sum(value::numeric), 0) FROM jsonb_each_text(r.measurements) WHERE key = ANY ($3::text[]))
      + CASE WHEN $4 = ANY ($3::text[]) THEN 1 ELSE 0 END) AS used
  FROM usage_record r
  WHERE r.customer_id = $1 AND r.api_key_id = $2 AND r.event_time >= $5
    AND r.event_day >= ($5::timestamptz AT TIME ZONE 'UTC')::date
    AND NOT EXISTS (
      SELECT FROM usage_void v
      WHERE v.customer_id = r.customer_id AND v.idempotency_key = r.idempotency_key AND v.event_day = r.event_day)
  GROUP BY 2
  UNION ALL
  SELECT 'day', date_bin('1 day', d.window_start, timestamptz 'epoch'), sum(d.quantity)
  FROM rollup_day d JOIN series s ON s.customer_id = d.customer_id AND s.series_id = d.series_id
  WHERE d.customer_id = $1 AND d.window_start >= date_bin('1 day', $5, timestamptz 'epoch')
    AND s.api_key_id = $2 AND s.meter = ANY ($3::text[])
  GROUP BY 2
), numbered AS (
  SELECT window_start, used,
    CASE kind WHEN 'minute' THEN (extract(epoch FROM window_start) / 60)::bigint % 8
      ELSE 8 + (extract(epoch FROM window_start) / 86400)::bigint % 2 END AS place
  FROM sums
)
INSERT INTO limit_counter (customer_id, api_key_id, place, window_start, used)
SELECT DISTINCT ON (place) $1, $2, place, window_start, used FROM numbered ORDER BY place, window_start DESC;

-- Compares counters of a page of keys with the ledger's sums: days with rollups, minutes with raw records that are not void. Minutes are compared
-- for some of the customers, drawn at random, as many as have $7 records of these days together: raw records are read by the customer's day.
-- $1 text, $2 text: customer and API key to go on after, empty for the start; $3 integer: keys; $4 text[]: meters that count; $5 text: the meter
-- that counts records; $6 timestamptz: first minute that matters; $7 bigint: most raw records to read.
-- Index api_key_in_order; primary keys of series, rollup_day, limit_counter, and of the days' partitions of usage_record.
WITH page AS MATERIALIZED (
  SELECT customer_id, api_key_id FROM api_key
  WHERE deleted_at IS NULL AND (customer_id COLLATE "C", api_key_id COLLATE "C") > ($1, $2)
  ORDER BY customer_id COLLATE "C", api_key_id COLLATE "C" LIMIT $3
), days AS MATERIALIZED (
  SELECT s.customer_id, s.api_key_id, s.meter, date_bin('1 day', d.window_start, timestamptz 'epoch') AS window_start,
    sum(d.quantity) AS quantity, sum(d.record_count) AS record_count
  FROM (SELECT DISTINCT customer_id FROM page) c
  JOIN rollup_day d ON d.customer_id = c.customer_id AND d.window_start >= date_bin('1 day', $6, timestamptz 'epoch')
  JOIN series s ON s.customer_id = d.customer_id AND s.series_id = d.series_id
  GROUP BY 1, 2, 3, 4
), readable AS MATERIALIZED (
  SELECT customer_id FROM (
    SELECT customer_id, sum(records) OVER (ORDER BY random()) AS total
    FROM (SELECT customer_id, sum(record_count) AS records FROM days WHERE meter = $5 GROUP BY customer_id) r
  ) drawn WHERE total <= $7::bigint
), recorded AS (
  SELECT customer_id, api_key_id, 'day' AS kind, window_start, sum(quantity) AS quantity
  FROM days JOIN page USING (customer_id, api_key_id) WHERE meter = ANY ($4::text[]) GROUP BY 1, 2, 4
  UNION ALL
  SELECT r.customer_id, r.api_key_id, 'minute', date_bin('1 minute', r.event_time, timestamptz 'epoch'),
    sum((SELECT coalesce(sum(value::numeric), 0) FROM jsonb_each_text(r.measurements) WHERE key = ANY ($4::text[]))
      + CASE WHEN $5 = ANY ($4::text[]) THEN 1 ELSE 0 END)
  FROM readable JOIN usage_record r USING (customer_id)
  JOIN page p ON p.customer_id = r.customer_id AND p.api_key_id = r.api_key_id
  WHERE r.event_time >= $6 AND r.event_day >= ($6::timestamptz AT TIME ZONE 'UTC')::date
    AND NOT EXISTS (
      SELECT FROM usage_void v
      WHERE v.customer_id = r.customer_id AND v.idempotency_key = r.idempotency_key AND v.event_day = r.event_day)
  GROUP BY 1, 2, 4
), counted AS (
  SELECT customer_id, api_key_id, CASE WHEN place < 8 THEN 'minute' ELSE 'day' END AS kind, window_start, used - voided AS quantity
  FROM page JOIN limit_counter USING (customer_id, api_key_id)
  WHERE CASE WHEN place < 8 THEN window_start >= $6 AND customer_id IN (SELECT customer_id FROM readable)
    ELSE window_start >= date_bin('1 day', $6, timestamptz 'epoch') END
)
SELECT
  (SELECT coalesce(json_agg(json_build_array(customer_id, api_key_id)
     ORDER BY customer_id COLLATE "C", api_key_id COLLATE "C"), '[]') FROM page) AS keys,
  (SELECT coalesce(json_agg(json_build_array(customer_id, api_key_id, kind, (extract(epoch FROM window_start) * 1000)::bigint,
       coalesce(c.quantity, 0)::text, coalesce(r.quantity, 0)::text)), '[]')
   FROM counted c FULL JOIN recorded r USING (customer_id, api_key_id, kind, window_start)
   WHERE coalesce(c.quantity, 0) <> coalesce(r.quantity, 0)) AS drifts;

-- Totals of one customer, one page of them, with the sums over all pages and the watermark, all of one snapshot.
-- $1 text: customer
-- $2 json: parts [{"window": 0, "startMs": .., "endMs": ..}] to be read from quarter-hours; $3 json: the same, from days
-- $4 text: API key, null for all; $5 text[]: models, null for all; $6 text[]: meters, null for all
-- $7 boolean: by API key; $8 boolean: by model; $9 text[]: by these labels
-- $10 text[]: token meters; $11 text: the meter that counts records
-- $12 json: total to go on after {"windowIndex", "meter", "apiKeyId", "model", "labelValues"}, null for the start; $13 integer: page size + 1
-- $14 integer: shard
-- Ranges of the rollups' primary keys; series by primary key. Text is ordered by code point, whatever the database's collation.
WITH parts AS MATERIALIZED (
  -- LATERAL, since a plain join compares every part with every rollup of the customer.
  SELECT p."window" AS window_index, r.*
  FROM json_to_recordset($2::json) AS p("window" integer, "startMs" float8, "endMs" float8)
  CROSS JOIN LATERAL (
    SELECT series_id, sum(quantity) AS quantity, sum(record_count) AS record_count
    FROM rollup_quarter_hour
    WHERE customer_id = $1 AND window_start >= to_timestamp(p."startMs" / 1000) AND window_start < to_timestamp(p."endMs" / 1000)
    GROUP BY series_id
  ) AS r
  UNION ALL
  SELECT p."window", r.*
  FROM json_to_recordset($3::json) AS p("window" integer, "startMs" float8, "endMs" float8)
  CROSS JOIN LATERAL (
    SELECT series_id, sum(quantity) AS quantity, sum(record_count) AS record_count
    FROM rollup_day
    WHERE customer_id = $1 AND window_start >= to_timestamp(p."startMs" / 1000) AND window_start < to_timestamp(p."endMs" / 1000)
    GROUP BY series_id
  ) AS r
), chosen AS MATERIALIZED (
  SELECT parts.window_index, s.meter COLLATE "C" AS meter,
    (CASE WHEN $7::boolean THEN s.api_key_id ELSE '' END) COLLATE "C" AS api_key_id,
    (CASE WHEN $8::boolean THEN s.model ELSE '' END) COLLATE "C" AS model,
    ARRAY(SELECT coalesce(s.labels ->> key, '') COLLATE "C"
          FROM unnest($9::text[]) WITH ORDINALITY AS l(key, i) ORDER BY i) AS label_values,
    parts.quantity, parts.record_count
  FROM parts JOIN series s ON s.customer_id = $1 AND s.series_id = parts.series_id
  WHERE ($4::text IS NULL OR s.api_key_id = $4) AND ($5::text[] IS NULL OR s.model = ANY ($5))
), totals AS (
  SELECT window_index, meter, api_key_id, model, label_values, sum(quantity)::bigint AS quantity, sum(record_count)::bigint AS record_count
  FROM chosen
  WHERE $6::text[] IS NULL OR meter = ANY ($6)
  GROUP BY window_index, meter, api_key_id, model, label_values
), page AS (
  SELECT * FROM totals
  WHERE $12::json IS NULL OR (window_index, meter, api_key_id, model, label_values) > (
    ($12::json ->> 'windowIndex')::integer, ($12::json ->> 'meter') COLLATE "C", ($12::json ->> 'apiKeyId') COLLATE "C",
    ($12::json ->> 'model') COLLATE "C", ARRAY(SELECT json_array_elements_text($12::json -> 'labelValues') COLLATE "C"))
  ORDER BY window_index, meter, api_key_id, model, label_values
  LIMIT $13
)
SELECT
  (SELECT coalesce(json_agg(json_build_array(window_index, meter, api_key_id, model, label_values, quantity::text, record_count::text)
     ORDER BY window_index, meter, api_key_id, model, label_values), '[]') FROM page) AS totals,
  (SELECT coalesce(sum(quantity), 0)::bigint FROM totals WHERE meter = ANY ($10::text[])) AS tokens_used,
  (SELECT coalesce(sum(quantity), 0)::bigint FROM chosen WHERE meter = $11) AS requests,
  -- Without a buffer, what was acknowledged before this statement began is in its snapshot.
  (SELECT CASE WHEN deployment.intake = 'postgres' THEN date_trunc('milliseconds', now()) ELSE coalesce(watermark, 'epoch') END
   FROM shard, deployment WHERE shard = $14) AS watermark,
  (SELECT version FROM shard WHERE shard = $14) AS version;

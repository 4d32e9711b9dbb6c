-- Writes one batch: raw records, series, both rollups, pending windows, refused records. Rows come sorted by key; every upsert goes by
-- primary key. Each list comes as its columns, JSON arrays of equal length: a third of the time of json_to_recordset.
--   $1..$8    raw records: customer, idempotency key, event day, event time in ms, API key, model, measurements, labels
--   $9..$14   series: customer, series id, API key, model, meter, labels
--   $15..$19  quarter-hour deltas: customer, window start in ms, series id, quantity, record count
--   $20..$24  day deltas: the same
--   $25..$30  pending deltas: customer, window start in ms, event name, payload, window end in ms, quantity
--   $31..$34  refused records: customer, idempotency key, reason, record
--   $35       integer: the catalog by which the raw records were summed
--   $36..$38  activity: customer, records, tokens
--   $39..$44  what counts towards limits: customer, API key, place, window start in ms, used, voided. Only keys that are defined are
--             counted, by primary key of api_key; one window a place, and what is older than the place's is not counted any more
WITH raw AS (
  INSERT INTO usage_record (customer_id, idempotency_key, event_day, event_time, api_key_id, model, measurements, labels, catalog_id)
  SELECT customer_id, key, day::date, to_timestamp(time_ms::float8 / 1000), api_key_id, model, measurements::jsonb, labels::jsonb, $35::integer
  FROM ROWS FROM (
    json_array_elements_text($1), json_array_elements_text($2), json_array_elements_text($3), json_array_elements_text($4),
    json_array_elements_text($5), json_array_elements_text($6), json_array_elements_text($7), json_array_elements_text($8)
  ) AS r(customer_id, key, day, time_ms, api_key_id, model, measurements, labels)
), new_series AS (
  INSERT INTO series (customer_id, series_id, api_key_id, model, meter, labels)
  SELECT customer_id, series_id::uuid, api_key_id, model, meter, labels::jsonb
  FROM ROWS FROM (
    json_array_elements_text($9), json_array_elements_text($10), json_array_elements_text($11), json_array_elements_text($12),
    json_array_elements_text($13), json_array_elements_text($14)
  ) AS r(customer_id, series_id, api_key_id, model, meter, labels)
  ON CONFLICT DO NOTHING
), quarter_hours AS (
  INSERT INTO rollup_quarter_hour AS t (customer_id, window_start, series_id, quantity, record_count)
  SELECT customer_id, to_timestamp(start_ms::float8 / 1000), series_id::uuid, quantity::bigint, record_count::bigint
  FROM ROWS FROM (
    json_array_elements_text($15), json_array_elements_text($16), json_array_elements_text($17), json_array_elements_text($18),
    json_array_elements_text($19)
  ) AS r(customer_id, start_ms, series_id, quantity, record_count)
  ON CONFLICT (customer_id, window_start, series_id) DO UPDATE
  SET quantity = t.quantity + excluded.quantity, record_count = t.record_count + excluded.record_count
), days AS (
  INSERT INTO rollup_day AS t (customer_id, window_start, series_id, quantity, record_count)
  SELECT customer_id, to_timestamp(start_ms::float8 / 1000), series_id::uuid, quantity::bigint, record_count::bigint
  FROM ROWS FROM (
    json_array_elements_text($20), json_array_elements_text($21), json_array_elements_text($22), json_array_elements_text($23),
    json_array_elements_text($24)
  ) AS r(customer_id, start_ms, series_id, quantity, record_count)
  ON CONFLICT (customer_id, window_start, series_id) DO UPDATE
  SET quantity = t.quantity + excluded.quantity, record_count = t.record_count + excluded.record_count
), pending AS (
  INSERT INTO pending_window AS t (customer_id, window_start, event_name, payload, window_end, total)
  SELECT customer_id, to_timestamp(start_ms::float8 / 1000), event_name, payload, to_timestamp(end_ms::float8 / 1000), quantity::bigint
  FROM ROWS FROM (
    json_array_elements_text($25), json_array_elements_text($26), json_array_elements_text($27), json_array_elements_text($28),
    json_array_elements_text($29), json_array_elements_text($30)
  ) AS r(customer_id, start_ms, event_name, payload, end_ms, quantity)
  ON CONFLICT (customer_id, window_start, event_name, payload) DO UPDATE SET total = t.total + excluded.total
), activity AS (
  INSERT INTO customer_activity AS t (minute, customer_id, records, tokens)
  SELECT date_trunc('minute', now()), customer_id, records::bigint, tokens::bigint
  FROM ROWS FROM (json_array_elements_text($36), json_array_elements_text($37), json_array_elements_text($38)) AS r(customer_id, records, tokens)
  ON CONFLICT (minute, customer_id) DO UPDATE SET records = t.records + excluded.records, tokens = t.tokens + excluded.tokens
), limits AS (
  INSERT INTO limit_counter AS t (customer_id, api_key_id, place, window_start, used, voided)
  SELECT r.customer_id, r.api_key_id, place::smallint, to_timestamp(start_ms::float8 / 1000), used::numeric, voided::numeric
  FROM ROWS FROM (
    json_array_elements_text($39), json_array_elements_text($40), json_array_elements_text($41), json_array_elements_text($42),
    json_array_elements_text($43), json_array_elements_text($44)
  ) AS r(customer_id, api_key_id, place, start_ms, used, voided)
  JOIN api_key k ON k.customer_id = r.customer_id AND k.api_key_id = r.api_key_id AND k.deleted_at IS NULL
  ON CONFLICT (customer_id, api_key_id, place) DO UPDATE
  SET window_start = excluded.window_start,
    used = excluded.used + CASE WHEN t.window_start = excluded.window_start THEN t.used ELSE 0 END,
    voided = excluded.voided + CASE WHEN t.window_start = excluded.window_start THEN t.voided ELSE 0 END
  WHERE t.window_start <= excluded.window_start
)
INSERT INTO refused_record (customer_id, idempotency_key, reason, record)
SELECT customer_id, key, reason, record::jsonb
FROM ROWS FROM (
  json_array_elements_text($31), json_array_elements_text($32), json_array_elements_text($33), json_array_elements_text($34)
) AS r(customer_id, key, reason, record);

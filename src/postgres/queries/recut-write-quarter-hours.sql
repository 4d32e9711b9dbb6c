-- Writes recut quarter-hours, and the series that they were summed under where those are new.
-- $1 json: series; $2 json: quarter-hours, whose windows hold no rows.
WITH new_series AS (
  INSERT INTO series (customer_id, series_id, api_key_id, model, meter, labels)
  SELECT "customerId", "seriesId", "apiKeyId", model, meter, labels
  FROM json_to_recordset($1::json) AS r("customerId" text, "seriesId" uuid, "apiKeyId" text, model text, meter text, labels jsonb)
  ON CONFLICT DO NOTHING
)
INSERT INTO rollup_quarter_hour (customer_id, window_start, series_id, quantity, record_count)
SELECT "customerId", to_timestamp("windowStartMs" / 1000.0), "seriesId", quantity, "recordCount"
FROM json_to_recordset($2::json) AS r("customerId" text, "windowStartMs" bigint, "seriesId" uuid, quantity bigint, "recordCount" bigint);

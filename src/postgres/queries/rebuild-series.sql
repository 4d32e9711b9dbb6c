-- Makes series what their ids say. $1 text: customer; $2 json: series. Primary key of series.
INSERT INTO series (customer_id, series_id, api_key_id, model, meter, labels)
SELECT $1, "seriesId", "apiKeyId", model, meter, labels
FROM json_to_recordset($2::json) AS r("seriesId" uuid, "apiKeyId" text, model text, meter text, labels jsonb)
ON CONFLICT (customer_id, series_id) DO UPDATE
SET api_key_id = excluded.api_key_id, model = excluded.model, meter = excluded.meter, labels = excluded.labels;

-- Writes days where no rows are. $1 text: customer; $2 json: days.
INSERT INTO rollup_day (customer_id, window_start, series_id, quantity, record_count)
SELECT $1, to_timestamp("windowStartMs" / 1000.0), "seriesId", quantity, "recordCount"
FROM json_to_recordset($2::json) AS r("windowStartMs" bigint, "seriesId" uuid, quantity bigint, "recordCount" bigint);

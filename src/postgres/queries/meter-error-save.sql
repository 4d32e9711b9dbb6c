-- Keeps an error report, one row a code; what it says never changes.
-- $1 text: event; $2 text: event name of the meter, or null; $3, $4 timestamptz: validation window; $5 json: errors. Primary key.
INSERT INTO meter_error (event_id, code, event_name, error_count, validation_start, validation_end, samples)
SELECT $1, code, $2, count, $3, $4, samples
FROM json_to_recordset($5::json) AS e(code text, count integer, samples jsonb)
ON CONFLICT (event_id, code) DO NOTHING;

-- The windows of reports. $1 text[]: identifiers. Primary key of report.
SELECT DISTINCT customer_id, window_start, event_name, payload FROM report WHERE identifier = ANY ($1::text[]);

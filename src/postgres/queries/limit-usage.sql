-- What keys used in two windows, in the order of the keys. A key that is not defined has no row.
-- $1 text[]: customers; $2 text[]: API keys, of the same length; $3 timestamptz: start of the minute; $4 smallint: its place; $5 timestamptz: start
-- of the day; $6 smallint: its place. Primary keys of api_key and limit_counter.
SELECT i::integer AS index, coalesce(m.used - m.voided, 0) AS minute, coalesce(d.used - d.voided, 0) AS day
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS r(customer_id, api_key_id, i)
JOIN api_key k ON k.customer_id = r.customer_id AND k.api_key_id = r.api_key_id AND k.deleted_at IS NULL
LEFT JOIN limit_counter m
  ON m.customer_id = r.customer_id AND m.api_key_id = r.api_key_id AND m.place = $4::smallint AND m.window_start = $3
LEFT JOIN limit_counter d
  ON d.customer_id = r.customer_id AND d.api_key_id = r.api_key_id AND d.place = $6::smallint AND d.window_start = $5
ORDER BY i;

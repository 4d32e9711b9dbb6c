-- Some series of a customer. $1 text: customer; $2 uuid[]: series. Primary key of series.
SELECT replace(series_id::text, '-', '') AS series_id, api_key_id, model, meter, labels
FROM series WHERE customer_id = $1 AND series_id = ANY ($2::uuid[]);

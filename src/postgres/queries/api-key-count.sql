-- How many keys a customer has, counted up to a bound. $1 text: customer; $2 integer: the bound. Range of the primary key.
SELECT count(*)::integer AS keys FROM (SELECT FROM api_key WHERE customer_id = $1 AND deleted_at IS NULL LIMIT $2) k;

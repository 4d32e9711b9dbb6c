-- Adds boundaries. $1 text: customer; $2 timestamptz[]: boundaries, none of them known.
INSERT INTO period_boundary (customer_id, boundary) SELECT $1, unnest($2::timestamptz[]);

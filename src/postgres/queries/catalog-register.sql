-- Keeps a meter catalog under its digest and returns its id, the same one to everybody. The update changes nothing; it returns the row.
-- $1 text: digest; $2 jsonb: body. Unique key of catalog.
INSERT INTO catalog AS t (digest, body) VALUES ($1, $2)
ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest
RETURNING catalog_id;

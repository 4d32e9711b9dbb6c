-- Meter catalogs by id. $1 integer[]: ids. Primary key of catalog.
SELECT catalog_id, body::text AS body FROM catalog WHERE catalog_id = ANY ($1::integer[]);

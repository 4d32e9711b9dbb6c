-- Counters of keys of one shard as they stand, and how far the shard had come then. Without a lock: one statement sees one snapshot, and counters
-- change in the transaction that moves the cursor.
-- $1 integer: shard; $2 text[]: customers; $3 text[]: API keys, of the same length. Primary keys of shard, api_key and limit_counter.
WITH asked AS MATERIALIZED (
  SELECT r.customer_id, r.api_key_id, r.i
  FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS r(customer_id, api_key_id, i)
  JOIN api_key k ON k.customer_id = r.customer_id AND k.api_key_id = r.api_key_id AND k.deleted_at IS NULL
)
SELECT s.epoch, s.cursor,
  (SELECT coalesce(json_agg(i), '[]') FROM asked) AS defined,
  (SELECT coalesce(json_agg(json_build_array(i, place, (extract(epoch FROM window_start) * 1000)::bigint, used::text, voided::text)), '[]')
   FROM asked JOIN limit_counter USING (customer_id, api_key_id)) AS counters
FROM shard s WHERE s.shard = $1;

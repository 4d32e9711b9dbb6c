-- What the ledger counts of some keys of a shard, and where the shard stands in the stream: one snapshot.
-- $1 text[]: customers; $2 text[]: API keys, of the same length; $3 integer: shard. Primary keys of shard, api_key and limit_counter.
SELECT s.epoch, s.cursor,
  (SELECT coalesce(json_agg(json_build_array(k.customer_id, k.api_key_id,
      (SELECT coalesce(json_agg(json_build_array(place, (extract(epoch FROM window_start) * 1000)::bigint, used::text, voided::text)), '[]')
       FROM limit_counter c WHERE c.customer_id = k.customer_id AND c.api_key_id = k.api_key_id))), '[]')
   FROM unnest($1::text[], $2::text[]) AS r(customer_id, api_key_id)
   JOIN api_key k ON k.customer_id = r.customer_id AND k.api_key_id = r.api_key_id AND k.deleted_at IS NULL) AS keys
FROM shard s WHERE s.shard = $3;

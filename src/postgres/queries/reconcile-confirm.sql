-- Confirms reports, which the transaction has locked with the windows of those to be accepted: what the stream took, or was held for its
-- unknown fate, is accepted, and added to its window. It is written off no more: its message says that it was, and why.
-- $1 bigint: epoch; $2 text[]: to be accepted; $3 text[]: all that were compared; $4 integer: longest message. Primary keys of report and pending_window.
WITH compared AS (
  UPDATE report r
  SET state = 'accepted', reconciled_at = now(), reason = '', lease_epoch = $1, written_off_at = NULL,
    message = CASE
      WHEN written_off_at IS NOT NULL THEN left('held for ' || reason || '; then decided by Stripe''s summaries; before: ' || message, $4)
      WHEN state = 'held' THEN 'held for ' || reason || '; then decided by Stripe''s summaries' ELSE message END
  WHERE identifier = ANY ($3::text[]) AND (state = 'accepted' OR state IN ('sent', 'held') AND identifier = ANY ($2::text[]))
  RETURNING r.identifier, r.customer_id, r.window_start, r.event_name, r.payload, r.value
)
UPDATE pending_window p SET accepted = p.accepted + t.value
FROM (
  SELECT customer_id, window_start, event_name, payload, sum(value)::bigint AS value
  FROM compared WHERE identifier = ANY ($2::text[]) GROUP BY customer_id, window_start, event_name, payload
) AS t
WHERE p.customer_id = t.customer_id AND p.window_start = t.window_start AND p.event_name = t.event_name AND p.payload = t.payload;

-- Removes a customer's windows of an interval that hold nothing and of which nothing was ever reported. The transaction holds the shard, and
-- keeps the leader out.
-- $1 text: customer; $2 timestamptz: start, inclusive; $3 timestamptz: end, exclusive. Range of pending_window's primary key,
-- report_sequence_key.
DELETE FROM pending_window p
WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3
  AND total = 0 AND reported = 0 AND accepted = 0 AND next_sequence = 0
  AND NOT EXISTS (
    SELECT FROM report r
    WHERE r.customer_id = p.customer_id AND r.event_name = p.event_name AND r.payload = p.payload AND r.window_start = p.window_start);

-- Reports that may be due, tightest deadline first, locked, with the database's time. What another leader left "sending" may have been
-- processed or not: that is "unknown".
-- A customer's meter of which some report waits for its retry waits with all its reports: else one customer whose sends keep failing
-- would fill every batch, and nobody else's would ever be sent.
-- Reports of another sink are none of this one's, but those past the resend horizon: they are to be held, whatever their sink.
-- $1 bigint: epoch of this leader; $2 integer: most rows; $3 text: sink; $4 bigint: resend horizon, ms.
-- Indexes report_due, report_open_customer.
SELECT identifier, kind, origin, customer_id, stripe_customer_id, event_name, payload, window_start, sequence, value, event_timestamp, late, attempts, sink,
  CASE state WHEN 'planned' THEN 'planned' ELSE 'unknown' END AS before, first_attempt_at, now() AS now
FROM report r
WHERE state IN ('planned', 'sending', 'unknown') AND next_attempt_at <= now() AND (state <> 'sending' OR lease_epoch < $1)
  AND (sink IN ('', $3) OR first_attempt_at <= now() - $4::bigint * interval '1 ms')
  AND NOT EXISTS (
    SELECT FROM report w
    WHERE w.customer_id = r.customer_id AND w.event_name = r.event_name AND w.state IN ('planned', 'unknown')
      AND w.attempts > 0 AND w.next_attempt_at > now())
ORDER BY deadline_at, next_attempt_at
LIMIT $2
FOR NO KEY UPDATE;

-- Completes planned requests that have no report left which is being sent or could be sent now. Reports planned after the request was
-- covered are no concern of it, so that steady usage cannot keep it open; nor are those of another sink, which nobody will send now.
-- $1 text: sink.
-- Indexes flush_request_open, report_open_customer, and for requests of all customers either of open reports.
UPDATE flush_request f SET done_at = now()
WHERE f.done_at IS NULL AND f.planned_at IS NOT NULL AND CASE
  WHEN f.customer_id IS NULL THEN NOT EXISTS (
    SELECT FROM report r
    WHERE r.state IN ('planned', 'sending', 'unknown') AND r.next_attempt_at <= now() AND r.planned_at <= f.planned_at
      AND r.sink IN ('', $1))
  ELSE NOT EXISTS (
    SELECT FROM report r
    WHERE r.state IN ('planned', 'sending', 'unknown') AND r.next_attempt_at <= now() AND r.planned_at <= f.planned_at
      AND r.sink IN ('', $1) AND r.customer_id = f.customer_id)
  END;

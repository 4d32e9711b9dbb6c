-- What is due by when, by kind: the tightest (null where nothing waits), how much waits, how much is overdue.
-- invoice: reports not yet sent whose draft invoice becomes final; resend: sends of unknown fate, which may be repeated for 23 h only;
-- age: reports on their way or held, and windows not yet frozen, that Stripe takes for 35 days only.
-- No parameters. Indexes report_due, report_unreconciled, report_held, pending_window_unplanned: reads what is open, held or unplanned.
WITH due AS (
  SELECT 'invoice' AS kind, finalizes_at AS at FROM report
  WHERE state IN ('planned', 'sending', 'unknown') AND finalizes_at IS NOT NULL
  UNION ALL
  SELECT 'resend', first_attempt_at + interval '23 hours' FROM report
  WHERE state IN ('planned', 'sending', 'unknown') AND first_attempt_at IS NOT NULL
  UNION ALL
  SELECT 'resend', first_attempt_at + interval '23 hours' FROM report
  WHERE state = 'sent' AND reconciled_at IS NULL
  UNION ALL
  SELECT 'age', event_timestamp + interval '35 days' FROM report WHERE state IN ('planned', 'sending', 'unknown')
  UNION ALL
  SELECT 'age', event_timestamp + interval '35 days' FROM report WHERE state = 'held' AND written_off_at IS NULL
  UNION ALL
  SELECT 'age', window_start + interval '35 days' FROM pending_window WHERE total <> reported
)
SELECT kind, (extract(epoch FROM min(due.at) - now()) * 1000)::bigint AS tightest_in_ms, count(due.at) AS waiting,
  count(*) FILTER (WHERE due.at <= now()) AS overdue
FROM unnest(ARRAY['invoice', 'resend', 'age']) WITH ORDINALITY AS kinds(kind, i) LEFT JOIN due USING (kind)
GROUP BY kind, i
ORDER BY i;

-- What has not come to its end, as one sink sees it. Reads only rows that are open, held or unplanned.
-- $1 text: sink. Indexes report_held, pending_window_unplanned, and either of open reports (report_due, report_open_customer).
WITH unplanned AS MATERIALIZED (
  SELECT p.window_end, a.customer_id IS NOT NULL OR p.customer_id LIKE 'cus\_%' AS mapped
  FROM pending_window p LEFT JOIN account a USING (customer_id)
  WHERE p.total <> p.reported
), open AS MATERIALIZED (
  SELECT event_timestamp, sink FROM report WHERE state IN ('planned', 'sending', 'unknown')
)
SELECT
  (SELECT count(*) FROM open) AS open_reports,
  (SELECT count(*) FROM open WHERE sink NOT IN ('', $1)) AS other_sink_reports,
  (SELECT count(*) FROM report WHERE state = 'held' AND written_off_at IS NULL) AS held_reports,
  (SELECT count(*) FROM unplanned WHERE NOT mapped) AS unmapped_windows,
  -- An open report's window ended a minute after its start, or a little earlier.
  coalesce(greatest(0, extract(epoch FROM now() - least(
    (SELECT min(window_end) FROM unplanned WHERE mapped),
    (SELECT min(event_timestamp) + interval '1 minute' FROM open)
  )) * 1000), 0)::bigint AS lag_ms;

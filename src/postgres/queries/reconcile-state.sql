-- For metrics: open drifts by explanation, and since when the oldest report waits to be confirmed. Indexes drift_open, report_unreconciled.
SELECT
  (SELECT coalesce(json_object_agg(explanation, drifts), '{}')
   FROM (SELECT explanation, count(*) AS drifts FROM drift WHERE state = 'open' GROUP BY explanation) AS d) AS open_drifts,
  (SELECT coalesce(extract(epoch FROM now() - min(settled_at)) * 1000, 0)::bigint
   FROM report WHERE reconciled_at IS NULL AND state IN ('sent', 'accepted') AND kind <> 'unbilled') AS oldest_ms;

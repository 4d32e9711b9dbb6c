-- What metrics tell of the ledger as a whole, whichever process asks. No parameters. Reads a handful of rows: deployment, shard, worker, lease and
-- gap are small; of stripe_event only what is not applied (stripe_event_due, stripe_event_dead).
SELECT
  -- Null with Postgres intake: there is no lag.
  (SELECT (extract(epoch FROM clock_timestamp() - min(coalesce(s.watermark, 'epoch'))) * 1000)::bigint
   FROM shard s, deployment d WHERE d.intake = 'redis') AS watermark_lag_ms,
  (SELECT count(*) FROM worker WHERE heartbeat_at > clock_timestamp() - interval '6 seconds') AS drain_workers,
  EXISTS (SELECT FROM lease WHERE name = 'flush' AND expires_at > clock_timestamp()) AS lease_held,
  (SELECT count(*) FROM gap) AS gaps,
  (SELECT (extract(epoch FROM max(detected_at)) * 1000)::bigint FROM gap) AS last_gap_ms,
  (SELECT count(*) FROM stripe_event WHERE state = 'received') AS stripe_events_waiting,
  (SELECT count(*) FROM stripe_event WHERE state = 'dead') AS stripe_events_dead;

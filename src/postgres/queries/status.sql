-- One JSON object; see app/ports/status.ts. Primary key of customer_activity and account; indexes subscription_customer, pending_window_unplanned, report_due, report_unreconciled,
-- report_held, report_accepted, report_late, drift_open, invoiced_period_unclosed.
WITH closed AS (
  SELECT min(coalesce(watermark, 'epoch')) AS watermark FROM shard, deployment WHERE deployment.intake = 'redis'
)
SELECT json_build_object(
  'now', now(),
  'intake', (SELECT intake FROM deployment),
  'shards', (SELECT count(*) FROM shard),
  'leader', (
    SELECT json_build_object('holder', holder, 'epoch', epoch,
      'expiresInMs', (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint)
    FROM lease WHERE name = 'flush' AND expires_at > clock_timestamp()),
  'drainWorkers', (
    SELECT coalesce(json_agg(worker_id ORDER BY worker_id), '[]') FROM worker WHERE heartbeat_at > now() - interval '6 seconds'),
  'watermark', (SELECT watermark FROM closed),
  'watermarkLagMs', (SELECT (extract(epoch FROM now() - watermark) * 1000)::bigint FROM closed),
  'throughput', (
    SELECT coalesce(json_agg(json_build_object('minute', minute, 'records', records::text, 'tokens', tokens::text) ORDER BY minute), '[]')
    FROM (
      SELECT minute, sum(records) AS records, sum(tokens) AS tokens FROM customer_activity
      WHERE minute >= date_trunc('minute', now()) - interval '15 minutes' AND minute < date_trunc('minute', now())
      GROUP BY minute) AS m),
  'pending', (
    SELECT json_build_object('windows', count(*), 'oldestWindowStart', min(p.window_start),
      'unmappedCustomers', count(DISTINCT p.customer_id) FILTER (WHERE a.customer_id IS NULL AND p.customer_id NOT LIKE 'cus\_%'))
    FROM pending_window p LEFT JOIN account a USING (customer_id) WHERE p.total <> p.reported)::jsonb
    || jsonb_build_object('unmappedExamples', ARRAY(
      SELECT DISTINCT p.customer_id FROM pending_window p LEFT JOIN account a USING (customer_id)
      WHERE p.total <> p.reported AND a.customer_id IS NULL AND p.customer_id NOT LIKE 'cus\_%' ORDER BY 1 LIMIT 10)),
  'unsubscribed', (
    SELECT json_build_object('customers', count(*), 'examples', coalesce((array_agg(customer_id ORDER BY customer_id))[1:10], '{}'))
    FROM (
      SELECT DISTINCT used.customer_id
      FROM customer_activity used LEFT JOIN account a USING (customer_id)
      WHERE used.minute >= date_trunc('minute', now()) - interval '15 minutes'
        AND (a.customer_id IS NOT NULL OR used.customer_id LIKE 'cus\_%')
        AND NOT EXISTS (
          SELECT FROM subscription s
          WHERE s.stripe_customer_id = coalesce(a.stripe_customer_id, used.customer_id)
            AND s.status NOT IN ('canceled', 'incomplete', 'incomplete_expired'))) AS u),
  'reports', (
    SELECT json_build_object('planned', count(*) FILTER (WHERE state = 'planned'), 'sending', count(*) FILTER (WHERE state = 'sending'),
      'unknown', count(*) FILTER (WHERE state = 'unknown'))
    FROM report WHERE state IN ('planned', 'sending', 'unknown'))::jsonb
    || jsonb_build_object(
      'sent', (SELECT count(*) FROM report WHERE state = 'sent' AND reconciled_at IS NULL),
      'held', (SELECT count(*) FROM report WHERE state = 'held' AND written_off_at IS NULL),
      'acceptedLastDay', (SELECT count(*) FROM report WHERE state = 'accepted' AND settled_at > now() - interval '1 day')),
  'held', (
    SELECT coalesce(json_agg(h ORDER BY h.reports DESC), '[]')
    FROM (
      SELECT g.reason, g.reports, json_build_object('identifier', r.identifier, 'customerId', r.customer_id,
        'eventName', r.event_name, 'message', r.message) AS example
      FROM (SELECT reason, count(*) AS reports, min(identifier) AS first FROM report WHERE state = 'held' AND written_off_at IS NULL GROUP BY reason) AS g
      JOIN report r ON r.identifier = g.first) AS h),
  'late', (
    SELECT json_build_object('reports', count(*), 'held', count(*) FILTER (WHERE state = 'held' AND written_off_at IS NULL),
      'periodsToClose', (SELECT count(*) FROM invoiced_period WHERE billed IS NOT NULL AND closed_at IS NULL),
      'periodsExceeded', (SELECT count(*) FROM invoiced_period WHERE excess > 0))
    FROM report WHERE (late OR kind = 'carry' OR reason IN ('late', 'no_open_period')) AND state <> 'superseded'),
  'drifts', (
    SELECT coalesce(json_agg(g ORDER BY g.spans DESC), '[]')
    FROM (
      SELECT explanation, hindrance, count(*) AS spans,
        (array_agg(json_build_object('stripeCustomerId', stripe_customer_id, 'eventName', event_name, 'from', span_start, 'to', span_end,
          'difference', (counted - expected)::text) ORDER BY abs(counted - expected) DESC, drift_id))[1] AS example
      FROM drift WHERE state = 'open' GROUP BY explanation, hindrance) AS g),
  'gaps', (
    SELECT coalesce(json_agg(json_build_object('shard', shard, 'lostFrom', lost_from, 'lostTo', lost_to, 'detectedAt', detected_at)
      ORDER BY gap_id DESC), '[]')
    FROM (SELECT * FROM gap ORDER BY gap_id DESC LIMIT 100) AS g),
  'refusedRecords', (
    SELECT coalesce(json_object_agg(reason, records), '{}')
    FROM (SELECT reason, count(*) AS records FROM refused_record GROUP BY reason) AS r),
  'stripeEvents', (
    SELECT json_build_object('waiting', count(*) FILTER (WHERE state = 'received'), 'dead', count(*) FILTER (WHERE state = 'dead'))
    FROM stripe_event WHERE state <> 'applied')
) AS status;

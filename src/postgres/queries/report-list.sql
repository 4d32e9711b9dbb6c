-- Reports for people, newest window first.
-- $1 text[] or null: states; $2 text or null: reason; $3 text or null: customer; $4 boolean: late ones only; $5 integer: most rows.
-- $6 text or null: identifier to go on after, in the order given;
-- $7 boolean or null: of held ones, only those written off, or only those that are not. Index report_held for held ones; else a scan: for people, not for probes.
SELECT identifier, kind, origin, CASE WHEN state = 'held' AND written_off_at IS NOT NULL THEN 'written_off' ELSE state END AS state, reason, message, customer_id AS "customerId", stripe_customer_id AS "stripeCustomerId",
  event_name AS "eventName", payload, window_start AS "windowStart", event_timestamp AS "eventTime", late, value::text, attempts,
  first_attempt_at AS "firstAttemptAt", next_attempt_at AS "nextAttemptAt", planned_at AS "plannedAt", settled_at AS "settledAt",
  reconciled_at AS "reconciledAt", written_off_at AS "writtenOffAt", deadline_at AT TIME ZONE 'UTC' AS "deadlineAt", sink
FROM report
WHERE ($1::text[] IS NULL OR report.state = ANY ($1)) AND ($7::boolean IS NULL OR report.state <> 'held' OR (written_off_at IS NOT NULL) = $7)
  AND ($2::text IS NULL OR reason = $2) AND ($3::text IS NULL OR customer_id = $3)
  AND (NOT $4::boolean OR late OR kind = 'carry' OR reason IN ('late', 'no_open_period'))
  AND ($6::text IS NULL OR (window_start, identifier) < (SELECT window_start, identifier FROM report WHERE identifier = $6))
ORDER BY window_start DESC, identifier DESC
LIMIT $5;

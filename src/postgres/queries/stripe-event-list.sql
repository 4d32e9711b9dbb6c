-- Webhook events that were not applied, oldest first. $1 boolean: only those given up; $2 integer: most. Small: a scan.
SELECT event_id AS "eventId", type, object_id AS "objectId", state, attempts, last_error AS "lastError", created_at AS "createdAt",
  next_attempt_at AS "nextAttemptAt"
FROM stripe_event
WHERE state = 'dead' OR state = 'received' AND NOT $1::boolean
ORDER BY received_at, event_id
LIMIT $2;

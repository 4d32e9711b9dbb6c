-- Says that a worker lives, and lists all that do, ascending; rows of the dead go.
-- $1 text: worker; $2 integer: milliseconds of silence after which a worker is dead. A handful of rows.
WITH beat AS (
  INSERT INTO worker (worker_id, heartbeat_at) VALUES ($1, clock_timestamp())
  ON CONFLICT (worker_id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at
), dead AS (
  DELETE FROM worker WHERE worker_id <> $1 AND heartbeat_at <= clock_timestamp() - $2 * interval '1 millisecond'
)
-- As of before the two statements above, hence the worker itself beside the rows.
SELECT $1 AS worker_id
UNION
SELECT worker_id FROM worker WHERE heartbeat_at > clock_timestamp() - $2 * interval '1 millisecond'
ORDER BY worker_id;

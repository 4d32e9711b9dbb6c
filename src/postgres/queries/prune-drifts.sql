-- Deletes some drifts that came to their end long ago. $1 timestamptz: before this; $2 integer: most. A scan: drifts are few.
DELETE FROM drift WHERE drift_id IN (
  SELECT drift_id FROM drift WHERE state <> 'open' AND settled_at < $1 AND span_end <= $1 ORDER BY drift_id LIMIT $2
);

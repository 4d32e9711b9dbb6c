-- Deletes some of Stripe's error reports that came long ago. $1 timestamptz: before this; $2 integer: most. Index meter_error_validation.
DELETE FROM meter_error WHERE (event_id, code) IN (
  SELECT event_id, code FROM meter_error WHERE validation_end < $1 AND received_at < $1 ORDER BY validation_end LIMIT $2
);

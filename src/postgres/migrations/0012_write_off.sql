-- Writing off: what an operator has settled in another way, and will not have sent. It stays, and can be taken up again.

ALTER TABLE report
  -- Of a held one: since when nobody is to do anything about it any more.
  ADD COLUMN written_off_at timestamptz;

ALTER TABLE reconcile_request
  -- An operator wants drift to be booked, and what would make up for it written off. Beside `apply`, which an older leader would repair by.
  ADD COLUMN write_off boolean NOT NULL DEFAULT false;
DROP INDEX reconcile_request_apply;
CREATE INDEX reconcile_request_asked ON reconcile_request (stripe_customer_id, event_name, span_start) WHERE apply OR write_off;

-- Nothing ever wrote 'dismissed'. invoiced: both periods of its minute are billed, and closing them carries on what was missing.
ALTER TABLE drift
  DROP CONSTRAINT drift_state_check,
  ADD CONSTRAINT drift_state_check CHECK (state IN ('open', 'repaired', 'gone', 'invoiced'));

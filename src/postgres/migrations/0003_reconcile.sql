-- Reconciliation with Stripe's summaries: what is due, and when an open drift is looked at again.

-- What was not yet compared, customer's meter by customer's meter.
CREATE INDEX report_uncompared ON report (stripe_customer_id, event_name, event_timestamp)
  WHERE reconciled_at IS NULL AND state IN ('sent', 'accepted') AND kind <> 'unbilled';
-- Sends whose end is not known yet: their hours wait.
CREATE INDEX report_unsettled ON report (stripe_customer_id, event_name, event_timestamp) WHERE state IN ('sending', 'unknown');

ALTER TABLE drift
  -- Why an open one is not repaired; empty else.
  ADD COLUMN hindrance text NOT NULL DEFAULT ''
    CHECK (hindrance IN ('', 'foreign', 'boundary', 'too_old', 'too_large', 'limit', 'unconfirmed')),
  ADD COLUMN looked_at timestamptz NOT NULL DEFAULT now(),
  -- An open one is due again: soon at first, then less and less often.
  ADD COLUMN look_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX drift_settled ON drift (settled_at) WHERE state = 'repaired';

ALTER TABLE reconcile_request
  -- An operator wants what can be repaired to be repaired now.
  ADD COLUMN apply boolean NOT NULL DEFAULT false;
CREATE INDEX reconcile_request_apply ON reconcile_request (stripe_customer_id, event_name, span_start) WHERE apply;

-- What was held for its unknown fate before summaries were read.
INSERT INTO reconcile_request (stripe_customer_id, event_name, span_start, span_end, reason)
SELECT DISTINCT stripe_customer_id, event_name, date_bin('1 hour', event_timestamp, timestamptz 'epoch'),
  date_bin('1 hour', event_timestamp, timestamptz 'epoch') + interval '1 hour', 'outcome_unknown'
FROM report WHERE state = 'held' AND reason = 'outcome_unknown'
ON CONFLICT DO NOTHING;

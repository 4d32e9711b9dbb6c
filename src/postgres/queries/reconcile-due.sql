-- Hours to be compared with Stripe's sums, of the next customers' meters in their order: hours with something taken that no sum has
-- confirmed, hours asked for, and hours with an open drift that is due again. An hour waits while something in it is under way or was
-- settled too lately; a request of an operator does not, so that he gets his answer. With the billing-period boundaries inside each, of whoever
-- reported there, whomever the Stripe customer is mapped to now.
-- An hour is due when it is over, or when a period that ends in it is: an invoice waits for nobody.
-- $1 bigint: lag in ms; $2 boolean: only what operators ask for; after which customer's meter to go on, or null: $3 text, $4 text;
-- $5 integer: most customers' meters.
-- Indexes report_uncompared, report_unsettled, report_counted, primary key of reconcile_request, reconcile_request_asked, drift_open.
WITH chosen AS MATERIALIZED (
  SELECT * FROM (
    (SELECT DISTINCT stripe_customer_id, event_name FROM report
     WHERE NOT $2::boolean AND reconciled_at IS NULL AND state IN ('sent', 'accepted') AND kind <> 'unbilled'
       AND ($3::text IS NULL OR (stripe_customer_id, event_name) > ($3, $4::text))
     ORDER BY 1, 2 LIMIT $5)
    UNION
    (SELECT DISTINCT stripe_customer_id, event_name FROM reconcile_request
     WHERE (apply OR write_off OR NOT $2::boolean) AND ($3::text IS NULL OR (stripe_customer_id, event_name) > ($3, $4::text))
     ORDER BY 1, 2 LIMIT $5)
    UNION
    (SELECT DISTINCT stripe_customer_id, event_name FROM drift
     WHERE NOT $2::boolean AND state = 'open' AND ($3::text IS NULL OR (stripe_customer_id, event_name) > ($3, $4::text))
     ORDER BY 1, 2 LIMIT $5)
  ) AS any_of_them
  ORDER BY 1, 2 LIMIT $5
), hours AS MATERIALIZED (
  SELECT c.stripe_customer_id, c.event_name, h.hour, bool_or(h.requested) AS requested,
    bool_or(h.apply) AS apply, bool_or(h.write_off) AS write_off
  FROM chosen c CROSS JOIN LATERAL (
    SELECT date_bin('1 hour', r.event_timestamp, timestamptz 'epoch') AS hour, false AS requested, false AS apply,
      false AS write_off
    FROM report r
    WHERE NOT $2::boolean AND r.stripe_customer_id = c.stripe_customer_id AND r.event_name = c.event_name
      AND r.reconciled_at IS NULL AND r.state IN ('sent', 'accepted') AND r.kind <> 'unbilled'
      AND (date_bin('1 hour', r.event_timestamp, timestamptz 'epoch') + interval '1 hour' <= now() OR EXISTS (
        SELECT FROM period_boundary b
        WHERE b.customer_id = r.customer_id AND b.boundary > r.event_timestamp
          AND b.boundary < date_bin('1 hour', r.event_timestamp, timestamptz 'epoch') + interval '1 hour'
          AND date_bin('1 minute', b.boundary, timestamptz 'epoch') + interval '1 minute' <= now()))
    UNION ALL
    SELECT q.span_start, true, q.apply, q.write_off FROM reconcile_request q
    WHERE q.stripe_customer_id = c.stripe_customer_id AND q.event_name = c.event_name AND (q.apply OR q.write_off OR NOT $2::boolean)
      AND q.span_start = date_bin('1 hour', q.span_start, timestamptz 'epoch')
    UNION ALL
    SELECT date_bin('1 hour', d.span_start, timestamptz 'epoch'), false, false, false FROM drift d
    WHERE NOT $2::boolean AND d.stripe_customer_id = c.stripe_customer_id AND d.event_name = c.event_name AND d.state = 'open' AND d.look_at <= now()
  ) AS h
  GROUP BY 1, 2, 3
), due AS (
  SELECT h.* FROM hours h
  WHERE h.apply OR h.write_off OR NOT EXISTS (
      SELECT FROM report r
      WHERE r.stripe_customer_id = h.stripe_customer_id AND r.event_name = h.event_name
        AND r.event_timestamp >= h.hour AND r.event_timestamp < h.hour + interval '1 hour' AND r.state IN ('sending', 'unknown'))
    AND NOT EXISTS (
      SELECT FROM report r
      WHERE r.stripe_customer_id = h.stripe_customer_id AND r.event_name = h.event_name
        AND r.event_timestamp >= h.hour AND r.event_timestamp < h.hour + interval '1 hour'
        AND r.first_attempt_at IS NOT NULL AND r.settled_at > now() - $1::bigint * interval '1 ms')
    -- A drift whose turn has come is not kept waiting by one that is left to a person, and looked at ever more rarely.
    AND (h.requested OR EXISTS (
      SELECT FROM drift d
      WHERE d.stripe_customer_id = h.stripe_customer_id AND d.event_name = h.event_name AND d.state = 'open'
        AND d.span_start >= h.hour AND d.span_start < h.hour + interval '1 hour' AND d.look_at <= now())
    OR NOT EXISTS (
      SELECT FROM drift d
      WHERE d.stripe_customer_id = h.stripe_customer_id AND d.event_name = h.event_name AND d.state = 'open'
        AND d.span_start >= h.hour AND d.span_start < h.hour + interval '1 hour' AND d.look_at > now()
        -- But what was sent since is not kept waiting.
        AND NOT EXISTS (
          SELECT FROM report r
          WHERE r.stripe_customer_id = h.stripe_customer_id AND r.event_name = h.event_name
            AND r.event_timestamp >= h.hour AND r.event_timestamp < h.hour + interval '1 hour'
            AND r.reconciled_at IS NULL AND r.state IN ('sent', 'accepted') AND r.kind <> 'unbilled' AND r.settled_at > d.looked_at)))
)
SELECT c.stripe_customer_id, c.event_name, d.hour, d.requested, d.apply, d.write_off, now() AS now,
  ARRAY(
    SELECT DISTINCT b.boundary FROM period_boundary b
    WHERE b.boundary > d.hour AND b.boundary < d.hour + interval '1 hour' AND b.customer_id IN (
      SELECT c.stripe_customer_id UNION
      SELECT a.customer_id FROM account a WHERE a.stripe_customer_id = c.stripe_customer_id UNION
      SELECT r.customer_id FROM report r
      WHERE r.stripe_customer_id = c.stripe_customer_id AND r.event_name = c.event_name
        AND r.event_timestamp >= d.hour AND r.event_timestamp < d.hour + interval '1 hour')
    ORDER BY b.boundary) AS boundaries
FROM chosen c LEFT JOIN due d USING (stripe_customer_id, event_name)
ORDER BY 1, 2, 3;

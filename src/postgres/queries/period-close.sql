-- Notes that locked periods were compared.
-- $1 json: [{"invoice_id", "event_name", "period_start", "excess"}]. Primary key of invoiced_period.
UPDATE invoiced_period ip SET closed_at = now(), excess = c.excess
FROM json_to_recordset($1::json) AS c(invoice_id text, event_name text, period_start timestamptz, excess bigint)
WHERE ip.invoice_id = c.invoice_id AND ip.event_name = c.event_name AND ip.period_start = c.period_start;

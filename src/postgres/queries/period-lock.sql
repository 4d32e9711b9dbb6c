-- Locks invoiced periods, whose windows are locked already: whoever makes a report count in one waits from here on. Those that somebody is
-- just making a report count in are left out. To be followed by period-counted, a statement of its own, which sees all that was counted before.
-- $1 json: [{"invoice_id", "event_name", "period_start"}]. Primary key of invoiced_period.
SELECT ip.invoice_id, ip.event_name, ip.period_start
FROM json_to_recordset($1::json) AS c(invoice_id text, event_name text, period_start timestamptz)
JOIN invoiced_period ip USING (invoice_id, event_name, period_start)
ORDER BY ip.invoice_id, ip.event_name, ip.period_start
FOR UPDATE OF ip SKIP LOCKED;

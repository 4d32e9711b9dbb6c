-- Quantities per Stripe event name over an interval: accepted by Stripe, and recorded but not yet accepted.
-- $1 text: customer; $2 timestamptz: start, inclusive; $3 timestamptz: end, exclusive. Primary key of pending_window.
-- Sums beyond 64 bits, which only absurd weights could make, are shown as the largest number there is.
SELECT event_name, least(sum(accepted), 9223372036854775807)::bigint AS reported,
  least(sum(total::numeric - accepted), 9223372036854775807)::bigint AS unreported
FROM pending_window
WHERE customer_id = $1 AND window_start >= $2 AND window_start < $3
GROUP BY event_name
ORDER BY event_name;

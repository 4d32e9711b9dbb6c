-- Forgets who was active before the last half hour. Primary key of customer_activity.
DELETE FROM customer_activity WHERE minute < now() - interval '30 minutes';

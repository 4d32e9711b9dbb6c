-- The customers that used most of late, most tokens first, and up to when all that was acknowledged is counted.
-- $1 integer: most customers. Primary key of customer_activity: reads its last quarter of an hour.
SELECT
  ARRAY(
    SELECT customer_id FROM customer_activity
    WHERE minute > now() - interval '15 minutes'
    GROUP BY customer_id
    ORDER BY sum(tokens) DESC, sum(records) DESC, customer_id COLLATE "C"
    LIMIT $1) AS customers,
  (SELECT CASE WHEN deployment.intake = 'postgres' THEN date_trunc('milliseconds', now())
     ELSE (SELECT min(coalesce(watermark, 'epoch')) FROM shard) END
   FROM deployment) AS watermark;

-- The deployment goes on without Redis: shards follow no stream any more, and their watermark is the time of reading.
WITH left_redis AS (UPDATE deployment SET intake = 'postgres' RETURNING 1)
UPDATE shard SET epoch = '', cursor = '0-0', watermark = NULL FROM left_redis;

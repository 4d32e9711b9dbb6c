-- Who was active of late, and how much: the order of a list of all customers, and the throughput. Written with the sums, by the minute of the
-- database's clock; what is older than a quarter of an hour is forgotten. Never billed.
CREATE TABLE customer_activity (
  minute timestamptz(0) NOT NULL,
  customer_id text NOT NULL,
  records bigint NOT NULL,
  tokens bigint NOT NULL,
  PRIMARY KEY (minute, customer_id)
) WITH (fillfactor = 50);

-- What `metering status` and the overview count, so that they read what they tell and no more.
CREATE INDEX report_accepted ON report (settled_at) WHERE state = 'accepted';
CREATE INDEX report_late ON report (state) WHERE (late OR kind = 'carry' OR reason IN ('late', 'no_open_period')) AND state <> 'superseded';

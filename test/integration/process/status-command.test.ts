// `metering status`: what an operator is told of the stores themselves.
import { expect, test } from "vitest";
import { runCommand } from "../../support/command.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { describeWithRedis, startRedis } from "../../support/redis.ts";

test("without a Redis it tells of PostgreSQL alone", async () => {
  const { url } = await useServedDatabase();
  const { exitCode, stdout } = await runCommand(["status"], { DATABASE_URL: url });
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^Postgres +\d+\.\d MB, /m);
  expect(stdout).not.toMatch(/^Redis /m);
  const { stores } = JSON.parse((await runCommand(["status", "--json"], { DATABASE_URL: url })).stdout);
  expect(stores).toMatchObject({ redis: null, postgres: { bytes: expect.any(Number) } });
});

describeWithRedis("of a Redis it says", () => {
  const statusWith = async (
    args: readonly string[],
    use: (redisUrl: string, close: () => Promise<void>) => unknown,
  ) => {
    const redis = await startRedis(args);
    try {
      return await use(redis.url, () => redis.close());
    } finally {
      await redis.close();
    }
  };

  test("that it keeps what it acknowledges, and how full it is", async () => {
    const { url } = await useServedDatabase();
    await statusWith(["--maxmemory", "100mb"], async (redisUrl) => {
      const { stdout } = await runCommand(["status"], { DATABASE_URL: url, REDIS_URL: redisUrl });
      expect(stdout).toMatch(
        /^Redis +\d+\.\d [kM]B in memory, of 104\.9 MB, append-only file \d+(\.\d)? k?B, durable$/m,
      );
    });
  });

  test("that it does not", async () => {
    const { url } = await useServedDatabase();
    await statusWith(["--appendfsync", "everysec"], async (redisUrl) => {
      const { stdout } = await runCommand(["status"], { DATABASE_URL: url, REDIS_URL: redisUrl });
      expect(stdout).toMatch(/^Redis +.*NOT DURABLE: Redis: appendfsync is everysec, not always/m);
    });
  });

  test("that it is away, and shows all the rest", async () => {
    const { url } = await useServedDatabase();
    await statusWith([], async (redisUrl, close) => {
      await close();
      const { exitCode, stdout } = await runCommand(["status"], { DATABASE_URL: url, REDIS_URL: redisUrl });
      expect(exitCode).toBe(0);
      expect(stdout).toMatch(/^Redis +DOES NOT ANSWER: .*ECONNREFUSED/m);
      expect(stdout).toMatch(/^leader /m);
    });
  });
});

test("it names who uses something that no subscription bills", async () => {
  const { pool, url } = await useServedDatabase();
  await pool.query(
    `INSERT INTO customer_activity (minute, customer_id, records, tokens)
     SELECT date_trunc('minute', now()), id, 1, 5 FROM unnest(ARRAY['acme', 'cus_free', 'cus_left', 'cus_paid', 'nobody']) AS id
     UNION ALL SELECT date_trunc('minute', now()) - interval '1 hour', 'cus_long_ago', 1, 5`,
  );
  await pool.query("INSERT INTO account (customer_id, stripe_customer_id) VALUES ('acme', 'cus_acme')");
  await pool.query(
    `INSERT INTO subscription (subscription_id, stripe_customer_id, status)
     VALUES ('sub_1', 'cus_acme', 'active'), ('sub_2', 'cus_paid', 'past_due'), ('sub_3', 'cus_left', 'canceled')`,
  );
  const { unsubscribed } = JSON.parse((await runCommand(["status", "--json"], { DATABASE_URL: url })).stdout);
  expect(unsubscribed).toEqual({ customers: 2, examples: ["cus_free", "cus_left"] });
  const { stdout } = await runCommand(["status"], { DATABASE_URL: url });
  expect(stdout).toContain("unsubscribed  2 customers use something and have no subscription: cus_free, cus_left\n");
});

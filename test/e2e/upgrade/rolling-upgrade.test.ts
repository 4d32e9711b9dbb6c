// docs/upgrade.md, step by step, with the program as it was last released: schema first, then old and new processes side by side, then the new
// ones alone; and back again. Nothing is lost, nothing counted twice, and both say the same.
import { expect, test } from "vitest";
import { ROOT } from "../../clients/tools.ts";
import { useTestDatabase } from "../../support/postgres.ts";
import { describeWithRedis, startRedis } from "../../support/redis.ts";
import { Program, type Server, unpackLastRelease } from "./released-program.ts";

const WAIT = { timeout: 60_000 };
const RECORDS = 30;
/** A traced call's record carries its trace through the stream, which the release before does not know. */
const TRACES = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9", METERING_TRACE_RATIO: "1" };

function aroundNow() {
  const hourMs = 3_600_000;
  const thisHourMs = Math.floor(Date.now() / hourMs) * hourMs;
  const at = (ms: number) => new Date(ms).toISOString();
  return { startTime: at(thisHourMs - hourMs), endTime: at(thisHourMs + 3 * hourMs) };
}

describeWithRedis("an upgrade from the last release", () => {
  test("rolls out, and back, under load", { timeout: 400_000 }, async ({ onTestFinished }) => {
    const { url, pool } = await useTestDatabase({ template: "template0" });
    const redis = await startRedis();
    onTestFinished(() => redis.close());
    const environment = { DATABASE_URL: url, REDIS_URL: redis.url, METERING_SHARDS: "4" };
    const before = new Program(unpackLastRelease(), environment);
    const after = new Program(ROOT, { ...environment, ...TRACES });
    const interval = aroundNow();
    let sent = 0;
    const record = async (server: Server) => {
      const first = sent;
      sent += RECORDS;
      await Promise.all(Array.from({ length: RECORDS }, (_, n) => server.record(`k-${first + n}`)));
    };
    const agree = async (...servers: Server[]) => {
      for (const server of servers) await expect.poll(() => server.total(interval), WAIT).toBe(sent);
    };

    expect(await before.run("migrate")).toMatchObject({ exitCode: 0 });
    const old = await before.serve();
    await record(old);
    await agree(old);

    // The new program refuses the old schema, and says what to do.
    const refused = await after.run("serve", "--roles", "api");
    expect(refused.exitCode).toBe(1);
    expect(refused.output).toContain("metering migrate");

    // 1. The schema, under the old program's feet.
    const migrated = await after.run("migrate");
    expect(migrated).toMatchObject({ exitCode: 0 });
    await record(old);
    await agree(old);

    // 2. Side by side. The drains share the shards: each reads what the other's API has written.
    const current = await after.serve();
    await Promise.all([record(old), record(current)]);
    await agree(old, current);
    // What one has recorded, the other knows.
    expect(await current.record("k-0")).toMatchObject({ outcome: "RECORD_OUTCOME_DUPLICATE" });
    expect(await old.record(`k-${sent - 1}`)).toMatchObject({ outcome: "RECORD_OUTCOME_DUPLICATE" });
    await expect(old.record(`k-${sent - 1}`, "another")).rejects.toThrow(/IDEMPOTENCY_KEY_REUSED/);

    // 3. The new one alone.
    expect(await old.stop(), old.log).toBe(0);
    await record(current);
    await agree(current);

    // Back: the old program starts on the new schema.
    const back = await before.serve();
    expect(await current.stop(), current.log).toBe(0);
    await record(back);
    await agree(back);
    expect(await back.stop(), back.log).toBe(0);
    const { rows } = await pool.query("SELECT count(*)::int AS gaps FROM gap");
    expect(rows).toEqual([{ gaps: 0 }]);
    expect(await after.run("verify")).toMatchObject({ exitCode: 0 });
  });
});

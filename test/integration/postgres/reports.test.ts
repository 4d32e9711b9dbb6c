// What holds of reports whoever writes to them: frozen, fenced, locked in one order, found by index.
import { expect, test } from "vitest";
import { StaleLeaseError } from "../../../src/app/ports/reports.ts";
import { settle } from "../../../src/domain/report.ts";
import { postgresLedger } from "../../../src/postgres/ledger.ts";
import { inTransaction } from "../../../src/postgres/pool.ts";
import { sqlFile } from "../../../src/postgres/sql-file.ts";
import { testCatalog } from "../../support/catalog.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { usageRecord } from "../../support/records.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import { addUsage, CLOSED_MS, expireLease } from "../flush/harness.ts";
import { ALL, lockWaited, setUp } from "./reports-harness.ts";

test("a report is frozen: no statement can change what is sent", async () => {
  const { pool, planAll } = await setUp();
  await addUsage(pool, { customerId: "cus_1" });
  await planAll();
  for (const change of [
    "value = value + 1",
    "identifier = 'x'",
    "event_timestamp = now()",
    "stripe_customer_id = 'cus_2'",
  ]) {
    await expect(pool.query(`UPDATE report SET ${change}`)).rejects.toThrow("frozen");
  }
});

test("nothing that a stale leader writes takes effect", async () => {
  const { pool, planAll, reports, requests, grant, appoint } = await setUp();
  await addUsage(pool, { customerId: "cus_1" });
  await planAll();
  const { claimed } = await reports.claim(grant, 10);
  await addUsage(pool, { customerId: "cus_2" });
  const requestId = await requests.request(undefined);
  await expireLease(pool);
  await appoint();
  const state = async () => {
    const tables = ["report", "pending_window", "flush_request"];
    return Promise.all(tables.map(async (t) => (await pool.query(`SELECT * FROM ${t} ORDER BY 1`)).rows));
  };
  const before = await state();
  const settled = claimed.map((report) => ({ report, settlement: settle({ kind: "accepted" }, "planned", 1) }));
  for (const write of [
    () => planAll(ALL),
    () => reports.claim(grant, 10),
    () => reports.settle(grant, settled),
    () => requests.planned(grant, [requestId]),
    () => requests.complete(grant, "v1"),
  ]) {
    await expect(write()).rejects.toThrow(StaleLeaseError);
  }
  expect(await state()).toEqual(before);
});

test.each(["plan", "settle"] as const)(
  "%s takes row locks in the order of the primary key, as applies do",
  async (step) => {
    const { pool, planAll, reports, grant } = await setUp();
    // By window end, the order is the other one.
    await addUsage(pool, { customerId: "cus_1" }, { customerId: "cus_2", windowStartMs: CLOSED_MS - 60_000 });
    await planAll();
    const { claimed } = await reports.claim(grant, 10);
    await addUsage(pool, { customerId: "cus_1" }, { customerId: "cus_2", windowStartMs: CLOSED_MS - 60_000 });
    expect(claimed.map((report) => report.customerId)).toEqual(["cus_2", "cus_1"]);
    const accepted = settle({ kind: "accepted" }, "planned", 1);
    const start = () =>
      step === "plan"
        ? planAll()
        : reports.settle(
            grant,
            claimed.map((report) => ({ report, settlement: accepted })),
          );
    const { started } = await inTransaction(pool, async (client) => {
      await client.query("UPDATE pending_window SET total = total + 1 WHERE customer_id = 'cus_1'");
      const started = start();
      await lockWaited(pool);
      // Would close the circle if the other side had this row already.
      await client.query("UPDATE pending_window SET total = total + 1 WHERE customer_id = 'cus_2'");
      return { started };
    });
    await started;
  },
);

test("applies, planning and settling at once: no deadlock, and the sums agree", async () => {
  const seed = pickSeed();
  const random = randomFrom(seed);
  const { pool, connect, reports, grant, planAll } = await setUp();
  const ledgers = [connect(), connect(), connect()].map((p) => postgresLedger(p, testCatalog(), 2));
  let applying = ledgers.length;
  const apply = async (ledger: (typeof ledgers)[number]) => {
    for (let i = 0; i < 40; i++) {
      const records = Array.from({ length: 20 }, () =>
        usageRecord({
          customerId: `cus_${Math.floor(random() * 12)}`,
          eventTimeMs: CLOSED_MS + Math.floor(random() * 240_000),
        }),
      );
      await ledger.apply(records);
    }
    applying -= 1;
  };
  const flush = async () => {
    for (let rest = 1; applying > 0 || rest > 0; ) {
      await planAll(ALL);
      const { claimed } = await reports.claim(grant, 50);
      const shuffled = claimed.map((report) => ({ report, at: random() })).sort((a, b) => a.at - b.at);
      await reports.settle(
        grant,
        shuffled.map(({ report }) => ({ report, settlement: settle({ kind: "accepted" }, report.before, 1) })),
      );
      rest = claimed.length;
    }
  };
  await Promise.all([...ledgers.map(apply), flush()]);
  await planAll(ALL);
  const open = await pool.query("SELECT * FROM pending_window WHERE total <> reported OR reported <> accepted");
  expect(open.rows, `SEED=${seed}`).toEqual([]);
  const sums = await pool.query(
    "SELECT (SELECT sum(total) FROM pending_window) = (SELECT sum(value) FROM report) AS equal",
  );
  expect(sums.rows, `SEED=${seed}`).toEqual([{ equal: true }]);
});

test.each([
  ["report-plannable", [null, false, null, null, null, null, null, 10, 1000], ["pending_window_unplanned"]],
  ["report-due", [1, 10, "v1", 82_800_000], ["report_due"]],
  ["report-backlog", ["v1"], ["report_held", "pending_window_unplanned"]],
  ["flush-request-unplanned", [], ["flush_request_open"]],
  ["flush-request-complete", ["v1"], ["flush_request_open", "report_open_customer"]],
])("%s can use the indexes that its header names", async (name, values, indexes) => {
  const { pool } = await useServedDatabase();
  const plan = await inTransaction(pool, async (client) => {
    await client.query("SET LOCAL enable_seqscan = off");
    const explained = await client.query<{ "QUERY PLAN": string }>(`EXPLAIN ${sqlFile(name)}`, values);
    return explained.rows.map((row) => row["QUERY PLAN"]).join("\n");
  });
  for (const index of indexes) expect(plan).toContain(index);
});

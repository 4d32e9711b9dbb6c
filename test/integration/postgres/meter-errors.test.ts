// Error reports against a real outbox: what is held, what is taken back, what is asked to be compared.
import { expect, test, vi } from "vitest";
import type { MeterErrorReport } from "../../../src/app/ports/meter-errors.ts";
import { planReports, type SinkOutcome, settle } from "../../../src/domain/report.ts";
import { postgresLease } from "../../../src/postgres/lease.ts";
import { postgresMeterErrors } from "../../../src/postgres/meter-errors.ts";
import { inTransaction } from "../../../src/postgres/pool.ts";
import { postgresReports } from "../../../src/postgres/reports.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { addUsage, CLOSED_MS, LEASE } from "../flush/harness.ts";

const SENT_MS = Date.now();
const HOUR_MS = 3_600_000;
const hourOf = (timeMs: number) => new Date(Math.floor(timeMs / HOUR_MS) * HOUR_MS);

/** Four customers with 10, 20, 30 and 40 tokens in a minute that is over, each frozen in a report; `settled` are sent, so ended. */
async function setUp(settled: Readonly<Record<string, SinkOutcome>> = {}) {
  const { pool, connect } = await useServedDatabase();
  const customers = ["cus_1", "cus_2", "cus_3", "cus_4"];
  await addUsage(pool, ...customers.map((customerId, i) => ({ customerId, quantity: BigInt(10 * (i + 1)) })));
  const grant = (await postgresLease(pool, LEASE).acquire("test", 600_000)) ?? expect.unreachable("the lease is held");
  const reports = postgresReports(pool, LEASE, "v1");
  await reports.plan(grant, { customerId: undefined, includeOpen: true }, undefined, 100, (windows, nowMs) =>
    planReports(windows, { deploymentId: "test", lateUsage: "current_period", nowMs }),
  );
  const { claimed } = await reports.claim(grant, 100);
  const outcomes = claimed.flatMap((report) => {
    const outcome = settled[report.customerId];
    return outcome ? [{ report, settlement: settle(outcome, report.before, report.attempts) }] : [];
  });
  await reports.settle(grant, outcomes);
  const identifier = (customerId: string) =>
    claimed.find((report) => report.customerId === customerId)?.identifier ?? expect.unreachable();
  const states = async () => {
    const result = await pool.query<{ customer_id: string; state: string; reason: string; accepted: string }>(
      `SELECT r.customer_id, r.state, r.reason, p.accepted FROM report r JOIN pending_window p
       USING (customer_id, event_name, payload, window_start) ORDER BY 1`,
    );
    return result.rows.map((row) => [row.customer_id, row.state, row.reason, row.accepted]);
  };
  const requests = async () =>
    (
      await pool.query(
        "SELECT stripe_customer_id, event_name, span_start, span_end FROM reconcile_request ORDER BY 1, 2, 3",
      )
    ).rows;
  return {
    pool,
    connect,
    grant,
    reports,
    claimed,
    errors: postgresMeterErrors(pool, LEASE),
    identifier,
    states,
    requests,
  };
}

let events = 0;
function errorReport(
  code: string,
  identifiers: readonly string[],
  fields: Partial<MeterErrorReport> = {},
): MeterErrorReport {
  events += 1;
  const samples = identifiers.map((identifier) => ({ identifier, message: `no ${code}` }));
  return {
    eventId: `evt_${events}`,
    eventName: "tokens",
    validation: { startMs: SENT_MS - 5_000, endMs: SENT_MS + 5_000 },
    errors: [{ code, count: identifiers.length, samples }],
    ...fields,
  };
}

const accepted = { kind: "accepted" } as const;
const unknown = { kind: "unknown", message: "timeout" } as const;

test("what it names is held with Stripe's words, and what was accepted is taken back; again changes nothing", async () => {
  const { pool, errors, identifier, states } = await setUp({ cus_1: accepted, cus_2: unknown, cus_3: accepted });
  await pool.query("UPDATE report SET state = 'sent' WHERE customer_id = 'cus_3'");
  await pool.query("UPDATE pending_window SET accepted = 0 WHERE customer_id = 'cus_3'");
  const report = errorReport("archived_meter", ["cus_1", "cus_2", "cus_3"].map(identifier));
  expect(await errors.apply(report)).toEqual({ held: new Map([["archived_meter", 3]]), sending: 0, spans: 4 });
  const held = [
    ["cus_1", "held", "archived_meter", "0"],
    ["cus_2", "held", "archived_meter", "0"],
    ["cus_3", "held", "archived_meter", "0"],
    ["cus_4", "sending", "", "0"],
  ];
  expect(await states()).toEqual(held);
  const { rows } = await pool.query("SELECT message FROM report WHERE customer_id = 'cus_1'");
  expect(rows).toEqual([{ message: "no archived_meter" }]);
  expect(await errors.apply(report)).toMatchObject({ held: new Map() });
  expect(await states()).toEqual(held);
  const kept = await pool.query("SELECT code, error_count, samples FROM meter_error");
  expect(kept.rows).toMatchObject([{ code: "archived_meter", error_count: 3, samples: [{}, {}, {}] }]);
});

test("several values of one window are taken back together", async () => {
  const { pool, errors, identifier, states } = await setUp({ cus_1: accepted });
  await pool.query(
    `INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, state, lease_epoch)
     SELECT 'second', customer_id, stripe_customer_id, event_name, window_start, 1, 7, event_timestamp, 'accepted', 1
     FROM report WHERE customer_id = 'cus_1'`,
  );
  await pool.query("UPDATE pending_window SET accepted = accepted + 7 WHERE customer_id = 'cus_1'");
  await errors.apply(errorReport("no_meter", ["second"]));
  expect((await states()).filter(([customer]) => customer === "cus_1").map(([, , , sum]) => sum)).toEqual(["10", "10"]);
  await errors.apply(errorReport("no_meter", [identifier("cus_1"), "second"]));
  expect((await states()).filter(([customer]) => customer === "cus_1").map(([, , , sum]) => sum)).toEqual(["0", "0"]);
});

test("what is held for another reason, superseded, planned, or booked stays as it is", async () => {
  const { pool, errors, identifier, states } = await setUp({
    cus_1: accepted,
    cus_2: accepted,
    cus_3: accepted,
    cus_4: accepted,
  });
  await pool.query("UPDATE report SET state = 'held', reason = 'outcome_unknown' WHERE customer_id = 'cus_1'");
  await pool.query("UPDATE report SET state = 'superseded' WHERE customer_id = 'cus_2'");
  await pool.query("UPDATE report SET state = 'planned' WHERE customer_id = 'cus_3'");
  await pool.query("ALTER TABLE report DISABLE TRIGGER report_is_frozen");
  await pool.query("UPDATE report SET kind = 'drift' WHERE customer_id = 'cus_4'");
  const before = await states();
  await errors.apply(errorReport("no_meter", ["cus_1", "cus_2", "cus_3", "cus_4"].map(identifier)));
  expect(await states()).toEqual(before);
});

test("a report that is being sent is let be, and counted: the caller comes again", async () => {
  const { errors, identifier, states } = await setUp({});
  expect(await errors.apply(errorReport("no_meter", [identifier("cus_1")]))).toMatchObject({
    held: new Map(),
    sending: 1,
  });
  expect((await states())[0]).toEqual(["cus_1", "sending", "", "0"]);
});

test("a report that Stripe's sums were found to show since stays: the error was about an earlier send", async () => {
  const { pool, errors, identifier, states } = await setUp({ cus_1: accepted, cus_2: accepted });
  const report = errorReport("no_meter", ["cus_1", "cus_2"].map(identifier));
  const reconcile = "UPDATE report SET reconciled_at = $2 WHERE customer_id = $1";
  await pool.query(reconcile, ["cus_1", new Date(report.validation.endMs + 1)]);
  await pool.query(reconcile, ["cus_2", new Date(report.validation.endMs - 1)]);
  expect(await errors.apply(report)).toMatchObject({ held: new Map([["no_meter", 1]]) });
  expect((await states()).slice(0, 2).map(([customer, state]) => [customer, state])).toEqual([
    ["cus_1", "accepted"],
    ["cus_2", "held"],
  ]);
});

test("named by several: the earliest says why, in whatever order they come", async () => {
  const { pool, errors, identifier, states } = await setUp({ cus_1: accepted });
  const named = [identifier("cus_1")];
  const at = (offsetMs: number) => ({
    validation: { startMs: SENT_MS + offsetMs, endMs: SENT_MS + offsetMs + 10_000 },
  });
  const reports = [
    errorReport("late", named, at(9_000)),
    errorReport("first", named, at(0)),
    errorReport("later", named, at(5_000)),
  ];
  for (const report of reports) await errors.apply(report);
  expect((await states())[0]).toEqual(["cus_1", "held", "first", "0"]);
  // What an operator wrote stands.
  await pool.query("UPDATE report SET reason = 'waiting for support' WHERE customer_id = 'cus_1'");
  await errors.apply(errorReport("before", named, at(-1_000)));
  expect((await states())[0]).toEqual(["cus_1", "held", "waiting for support", "0"]);
});

test("compared: every hour of the meter with sends around then, named or not; others' meters and other times are not", async () => {
  const { pool, errors, identifier, requests } = await setUp({
    cus_1: accepted,
    cus_2: accepted,
    cus_3: accepted,
    cus_4: unknown,
  });
  const set = "UPDATE report SET first_attempt_at = $2 WHERE customer_id = $1";
  const report = errorReport("no_meter", [identifier("cus_3")]);
  const { startMs, endMs } = report.validation;
  const QUARTER = 15 * 60_000;
  await pool.query(set, ["cus_1", new Date(startMs - QUARTER)]);
  await pool.query(set, ["cus_2", new Date(startMs - QUARTER - 1)]);
  // Named: compared whenever it was sent.
  await pool.query(set, ["cus_3", new Date(startMs - 20 * HOUR_MS)]);
  await pool.query(set, ["cus_4", new Date(endMs + QUARTER)]);
  await errors.apply({ ...report, eventName: "another" });
  const span = {
    event_name: "tokens",
    span_start: hourOf(CLOSED_MS),
    span_end: new Date(hourOf(CLOSED_MS).getTime() + HOUR_MS),
  };
  expect(await requests()).toEqual([{ stripe_customer_id: "cus_3", ...span }]);
  const spans = ["cus_1", "cus_3", "cus_4"].map((stripe_customer_id) => ({ stripe_customer_id, ...span }));
  expect(await errors.apply(report)).toMatchObject({ spans: 3 });
  expect(await requests()).toEqual(spans);
  await pool.query("TRUNCATE reconcile_request");
  // No meter was found: of every meter.
  expect(await errors.apply({ ...report, eventName: undefined })).toMatchObject({ spans: 3 });
  expect(await requests()).toEqual(spans);
});

test("an hour whose sends were reconciled is not compared again for what others lost", async () => {
  const { pool, errors, requests } = await setUp({ cus_1: accepted, cus_2: accepted });
  await pool.query("UPDATE report SET reconciled_at = now() WHERE customer_id = 'cus_1'");
  await errors.apply(errorReport("no_meter", []));
  expect((await requests()).map((row) => row.stripe_customer_id)).toEqual(["cus_2", "cus_3", "cus_4"]);
});

test("the leader's writes and error reports wait for each other, never in a circle", async () => {
  const { pool, connect, identifier, grant, claimed, states } = await setUp({});
  // Both go by index, as they do in a table of some size: each takes reports in the order in which it is given them.
  const name = (await pool.query("SELECT current_database() AS name")).rows[0].name;
  for (const method of ["seqscan", "bitmapscan", "hashjoin", "mergejoin"])
    await pool.query(`ALTER DATABASE ${name} SET enable_${method} = off`);
  const fresh = connect();
  const [reports, errors] = [postgresReports(fresh, LEASE, "v1"), postgresMeterErrors(fresh, LEASE)];
  const falling = claimed.toSorted((x, y) => (x.identifier < y.identifier ? 1 : -1));
  const locked = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const blocked = inTransaction(connect(), async (client) => {
    await client.query("SELECT FROM report WHERE identifier = $1 FOR UPDATE", [falling[1]?.identifier]);
    locked.resolve();
    await release.promise;
  });
  await locked.promise;
  const waiting = (count: number) =>
    vi.waitFor(async () => {
      const waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
      expect((await pool.query(waits)).rowCount).toBe(count);
    }, 55_000);
  // The leader has the first and waits for the second; an error report that had the fourth and third would wait for it, and it for those.
  const settled = falling.map((report) => ({ report, settlement: settle(accepted, report.before, report.attempts) }));
  const settling = reports.settle(grant, settled);
  await waiting(1);
  const applying = errors.apply(errorReport("no_meter", ["cus_1", "cus_2", "cus_3", "cus_4"].map(identifier)));
  await waiting(2);
  release.resolve();
  await Promise.all([blocked, settling, applying]);
  expect((await states()).map(([, state, , sum]) => [state, sum])).toEqual(Array(4).fill(["held", "0"]));
});

// Drift that an operator gives up, and drift that invoices settle.
import { describe, expect, test } from "vitest";
import { closePeriod } from "../../../src/domain/invoiced-period.ts";
import { postgresInvoicedPeriods } from "../../../src/postgres/invoiced-periods.ts";
import { retryHeld } from "../../../src/postgres/report-desk.ts";
import { runCommand } from "../../support/command.ts";
import { expireLease, LEASE } from "../flush/harness.ts";
import { HOUR_MS, MINUTE_MS, PAST_HOUR_MS, startWorld, storedDrifts, storedReports, type World } from "./harness.ts";

const hour = (ms: number) => new Date(ms).toISOString().replace(":00.000Z", "Z");
const RANGE = ["--from", hour(PAST_HOUR_MS), "--to", hour(PAST_HOUR_MS + HOUR_MS)];

const shown = async ({ pool }: World) =>
  (await storedReports(pool)).map(({ kind, value, state, reason }) => [kind, value, state, reason]);

/** The command leads for as long, then the lease is ours again. */
async function writeOff({ pool, tenure, customer, environment }: World, ...args: string[]) {
  await expireLease(pool);
  const all = ["stripe", "reconcile", ...RANGE, "--customer", customer, "--write-off", ...args];
  const result = await runCommand(all, environment);
  await pool.query("UPDATE lease SET epoch = $1", [tenure.grant.epoch]);
  return result;
}

/** 5 of ours are with Stripe, and 9,000,000 of somebody else's, which a first look has found. */
async function startForeign(): Promise<World> {
  const world = await startWorld();
  await world.use(3, 5n);
  await world.flush();
  await world.foreign(40, 9_000_000n);
  await world.later();
  await world.pass();
  return world;
}

describe("metering stripe reconcile --write-off", () => {
  test("books what differs and sends nothing; a retry sends it after all", async () => {
    const world = await startForeign();
    const { exitCode, stdout, stderr } = await writeOff(world, "--json");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const { drifts, writtenOff } = JSON.parse(stdout);
    expect(drifts).toEqual([]);
    expect(writtenOff).toMatchObject([{ difference: "9000000", repair: expect.stringMatching(/^u-/) }]);
    await world.flush();
    await world.later();
    await world.pass();
    expect(await shown(world)).toEqual([
      ["usage", "5", "accepted", ""],
      ["drift", "9000000", "accepted", ""],
      ["repair", "-9000000", "held", "written_off"],
    ]);
    expect(world.counted()).toBe(9_000_005n);

    expect(await retryHeld(world.pool, "test", [writtenOff[0].repair])).toHaveLength(1);
    await world.flush();
    expect(world.counted()).toBe(5n);
  });

  test("what Stripe lacks is not billed any more, and the invoice that lacks it is not taken for short", async () => {
    const world = await startWorld();
    const { pool, tenure } = world;
    await world.use(3, 5n);
    await world.use(9, 7n);
    await world.flush();
    await world.vanish((await storedReports(pool))[0]?.identifier ?? "");
    await world.later();
    await world.pass();
    await saveInvoice(world, "in_1", PAST_HOUR_MS - 24 * HOUR_MS, PAST_HOUR_MS + HOUR_MS, 7n);
    await world.later();
    const { exitCode, stdout } = await writeOff(world);
    expect({ exitCode, stdout }).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("Written off;") });
    const close = postgresInvoicedPeriods(pool, LEASE);
    await close.close(tenure.grant, 10, (period, nowMs) => closePeriod(period, { ...CONTEXT, nowMs }));
    await world.flush();
    expect((await shown(world)).filter(([kind]) => kind === "carry" || kind === "unbilled")).toEqual([]);
    expect(await unclosed(world)).toBe(0);
    expect(world.counted()).toBe(7n);
  });

  test("wants a customer, and not --apply beside it: exit 2", async () => {
    const { environment } = await startWorld();
    const run = (...args: string[]) => runCommand(["stripe", "reconcile", ...RANGE, ...args], environment);
    expect(await run("--write-off")).toMatchObject({ exitCode: 2, stderr: "metering: --write-off needs --customer\n" });
    expect(await run("--write-off", "--apply", "--customer", "acme")).toMatchObject({ exitCode: 2, stdout: "" });
  });
});

const CONTEXT = { deploymentId: "test", lateUsage: "current_period" } as const;

/** `billed` null: the invoice does not tell. */
async function saveInvoice(
  { pool, customer }: World,
  id: string,
  startMs: number,
  endMs: number,
  billed: bigint | null,
) {
  await pool.query(
    `INSERT INTO invoice (invoice_id, stripe_customer_id, subscription_id, status, finalized_at)
     VALUES ($1, $2, 'sub_1', 'paid', $3)`,
    [id, customer, new Date(endMs + HOUR_MS)],
  );
  await pool.query(
    `INSERT INTO invoiced_period (invoice_id, event_name, period_start, period_end, stripe_customer_id, billed)
     VALUES ($1, 'tokens', $2, $3, $4, $5)`,
    [id, new Date(startMs), new Date(endMs), customer, billed],
  );
}

async function unclosed({ pool }: World): Promise<number> {
  return (await pool.query("SELECT FROM invoiced_period WHERE closed_at IS NULL")).rowCount ?? 0;
}

describe("drift in a minute that two billing periods share", () => {
  const BOUNDARY_MS = PAST_HOUR_MS + 10 * MINUTE_MS + 30_000;

  /** 5 on either side of the boundary, in one minute; Stripe forgets those after it. */
  async function startShared(payer?: string): Promise<World> {
    const world = await startWorld();
    const { pool, customer, use, flush, later, pass } = world;
    await pool.query("INSERT INTO account (customer_id, stripe_customer_id) VALUES ('acme', $1)", [customer]);
    await pool.query("INSERT INTO period_boundary VALUES ('acme', $1)", [new Date(BOUNDARY_MS)]);
    await use(10, 5n, { customerId: "acme", windowMs: 30_000 });
    await use(10, 5n, { customerId: "acme", windowStartMs: BOUNDARY_MS, windowMs: 30_000 });
    await flush();
    if (payer !== undefined) await pool.query("UPDATE account SET stripe_customer_id = $1", [payer]);
    const [, lost = expect.fail("no second report")] = await storedReports(pool);
    await world.vanish(lost.identifier);
    await later();
    await pass();
    return world;
  }

  test("is nobody's to guess either when the customer is mapped to another meanwhile", async () => {
    const world = await startShared("cus_next");
    expect(await storedDrifts(world.pool)).toMatchObject([{ from_minute: 10, to_minute: 11, hindrance: "boundary" }]);
    await expireLease(world.pool);
    const { stdout } = await runCommand(
      ["stripe", "reconcile", ...RANGE, "--customer", world.customer, "--json"],
      world.environment,
    );
    expect(JSON.parse(stdout).drifts).toMatchObject([{ difference: "-5", hindrance: "boundary" }]);
  });

  test.each<[string, (world: World) => Promise<void>]>([
    ["does not say how much it bills", (world) => saveInvoice(world, "in_2", BOUNDARY_MS, BOUNDARY_MS + HOUR_MS, null)],
    [
      "is not the only one for its period",
      async (world) => {
        await saveInvoice(world, "in_2", BOUNDARY_MS, BOUNDARY_MS + HOUR_MS, 0n);
        await saveInvoice(world, "in_3", BOUNDARY_MS, BOUNDARY_MS + HOUR_MS, 0n);
      },
    ],
  ])(
    "stays open where an invoice %s: it could not be compared, and what it left out would be carried nowhere",
    async (_, save) => {
      const world = await startShared();
      await saveInvoice(world, "in_1", BOUNDARY_MS - 24 * HOUR_MS, BOUNDARY_MS, 5n);
      await save(world);
      await world.age(24 * HOUR_MS);
      await world.pass();
      expect(await storedDrifts(world.pool)).toMatchObject([{ state: "open", hindrance: "boundary" }]);
    },
  );

  test("waits for both invoices; then each carries on what it left out, and the drift is settled", async () => {
    const world = await startShared();
    const { pool, tenure, later, pass, flush } = world;
    expect(await storedDrifts(pool)).toMatchObject([
      { state: "open", hindrance: "boundary", expected: 10, counted: 5 },
    ]);
    await saveInvoice(world, "in_1", BOUNDARY_MS - 24 * HOUR_MS, BOUNDARY_MS, 5n);
    const periods = postgresInvoicedPeriods(pool, LEASE);
    const close = () => periods.close(tenure.grant, 10, (period, nowMs) => closePeriod(period, { ...CONTEXT, nowMs }));
    await later();
    await pass();
    await close();
    expect(await storedDrifts(pool)).toMatchObject([{ state: "open" }]);
    expect(await unclosed(world)).toBe(1);

    await saveInvoice(world, "in_2", BOUNDARY_MS, BOUNDARY_MS + HOUR_MS, 0n);
    await world.age(24 * HOUR_MS);
    await pass();
    expect(await storedDrifts(pool)).toMatchObject([{ state: "invoiced", hindrance: "" }]);
    await close();
    await flush();
    expect(await unclosed(world)).toBe(0);
    expect((await shown(world)).filter(([kind]) => kind === "carry")).toEqual([["carry", "5", "accepted", ""]]);
    expect((await pool.query("SELECT FROM invoiced_period WHERE excess > 0")).rowCount).toBe(0);
    const open = (await storedReports(pool)).filter(({ reconciled_at }) => reconciled_at === null);
    expect(open.map(({ kind }) => kind)).toEqual(["carry"]);
  });
});

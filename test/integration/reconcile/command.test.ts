// `metering stripe reconcile` as an operator has it: a process, its tables and objects, its exit code.
import { describe, expect, test } from "vitest";
import { ensureMeters } from "../../../src/stripe/meters.ts";
import { runCommand } from "../../support/command.ts";
import { expireLease } from "../flush/harness.ts";
import {
  expectSettled,
  HOUR_MS,
  PAST_HOUR_MS,
  startWorld,
  storedDrifts,
  storedReports,
  type World,
} from "./harness.ts";

const hour = (ms: number) => new Date(ms).toISOString().replace(":00.000Z", "Z");
/** Three hours, the past hour in their middle. */
const RANGE = ["--from", hour(PAST_HOUR_MS - HOUR_MS), "--to", hour(PAST_HOUR_MS + 2 * HOUR_MS)];

const reconcile = ({ environment }: World, ...args: string[]) =>
  runCommand(["stripe", "reconcile", ...RANGE, ...args], environment);

/** 5 and 7 of ours are with Stripe, well settled. */
async function startReported(): Promise<World> {
  const world = await startWorld();
  await world.use(3, 5n);
  await world.use(40, 7n);
  await world.flush();
  await world.later();
  return world;
}

describe("it only looks", () => {
  test("a time of which reports may be gone: exit 1, with the day from which they are kept", async () => {
    const world = await startWorld();
    const { exitCode, stderr } = await runCommand(["stripe", "reconcile", "--from", "2020-01-01"], world.environment);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/reports from before \d{4}-\d\d-\d\d are not kept \(METERING_REPORT_RETENTION\)/);
  });

  test("sums that agree: exit 0", async () => {
    const world = await startReported();
    const { exitCode, stdout, stderr } = await reconcile(world);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain("Stripe's sums agree with the ledger.");
    const { stdout: json } = await reconcile(world, "--json");
    expect(JSON.parse(json)).toEqual({
      from: hour(PAST_HOUR_MS - HOUR_MS).replace("Z", ":00Z"),
      to: hour(PAST_HOUR_MS + 2 * HOUR_MS).replace("Z", ":00Z"),
      meters: 1,
      spans: 3,
      waiting: 0,
      incomparable: [],
      drifts: [],
      repaired: [],
    });
  });

  test("of an hour in which something was just sent it says that it waits, and not that sums agree", async () => {
    const world = await startWorld();
    await world.use(3, 5n);
    await world.flush();
    const hourOf = (ms: number) => ["--from", hour(ms), "--to", hour(ms + HOUR_MS)];
    const look = (range: string[]) =>
      runCommand(["stripe", "reconcile", ...range, "--customer", world.customer], world.environment);
    const alone = await look(hourOf(PAST_HOUR_MS));
    expect(alone).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("0 spans compared.\n1 hours wait") });
    expect(alone.stdout).not.toContain("agree");
    expect((await look(RANGE)).stdout).toContain("Stripe's sums agree with the ledger in the other hours.");
    expect(JSON.parse((await reconcile(world, "--json")).stdout)).toMatchObject({ waiting: 1, drifts: [] });
  });

  test("sums that differ, also in an hour without any report: exit 1, and nothing is written, whoever leads", async () => {
    const world = await startReported();
    const { pool, customer, vanish, foreign } = world;
    await vanish((await storedReports(pool))[0]?.identifier ?? "");
    await foreign(70, 1_000_000_000_000n);
    const before = await storedReports(pool);
    const { exitCode, stdout } = await reconcile(world, "--json");
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout).drifts).toMatchObject([
      { expected: "5", counted: "0", difference: "-5", explanation: "never_sent", hindrance: "unconfirmed" },
      {
        stripeCustomerId: customer,
        eventName: "tokens",
        from: hour(PAST_HOUR_MS + HOUR_MS).replace("Z", ":00Z"),
        to: hour(PAST_HOUR_MS + 2 * HOUR_MS).replace("Z", ":00Z"),
        expected: "0",
        counted: "1000000000000",
        difference: "1000000000000",
        explanation: "foreign",
        hindrance: "foreign",
      },
    ]);
    expect(await storedReports(pool)).toEqual(before);
    expect(await storedDrifts(pool)).toEqual([]);
    const table = await reconcile(world);
    expect(table.exitCode).toBe(1);
    expect(table.stdout).toMatch(/tokens +\S+ +1 min +5 +0 +-5 +never_sent/);
    expect(table.stdout).toMatch(/tokens +\S+ +60 min +0 +1000000000000 +\+1000000000000 +foreign +.*--apply/);
  });

  test("one customer, by the service's id, and meters that nothing was ever reported to", async () => {
    const world = await startReported();
    const { pool, stripe, foreign } = world;
    const { id } = await stripe.customers.create();
    await ensureMeters(stripe, ["input_tokens"]);
    await pool.query("INSERT INTO account VALUES ('acme', $1)", [id]);
    await foreign(5, 3n, { event_name: "input_tokens", payload: { stripe_customer_id: id, value: "3" } });
    await foreign(5, 4n);
    const { stdout } = await reconcile(world, "--customer", "acme", "--json");
    const { drifts, incomparable } = JSON.parse(stdout);
    expect(drifts).toMatchObject([{ stripeCustomerId: id, eventName: "input_tokens", counted: "3" }]);
    // The configuration bills meters that this Stripe does not have.
    expect(incomparable).toContainEqual({ stripeCustomerId: id, eventName: "output_tokens" });
  });

  test("a customer that Stripe does not have keeps nobody else from being compared", async () => {
    const world = await startReported();
    await world.use(9, 1n, { customerId: "cus_mistyped" });
    await world.flush();
    await world.later();
    await world.foreign(5, 4n);
    const { exitCode, stdout } = await reconcile(world, "--json");
    expect(exitCode).toBe(1);
    const { drifts, incomparable } = JSON.parse(stdout);
    expect(drifts).toMatchObject([{ stripeCustomerId: world.customer, counted: "4", explanation: "foreign" }]);
    expect(incomparable).toEqual([{ stripeCustomerId: "cus_mistyped", eventName: "tokens" }]);
  });
});

describe("with --apply", () => {
  async function startDrifted(): Promise<World> {
    const world = await startReported();
    await world.vanish((await storedReports(world.pool))[0]?.identifier ?? "");
    await world.foreign(40, 3n);
    await world.foreign(77, 2_000_000n);
    return world;
  }

  async function expectRepaired(world: World, { exitCode, stdout, stderr }: Awaited<ReturnType<typeof reconcile>>) {
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const { drifts, repaired } = JSON.parse(stdout);
    expect(drifts).toEqual([]);
    expect(repaired).toMatchObject([
      { difference: "-5", explanation: "never_sent", repair: expect.stringMatching(/^u-/) },
      { difference: "3", explanation: "foreign" },
      { difference: "2000000", explanation: "foreign" },
    ]);
    await world.flush();
    await expectSettled(world);
    expect((await reconcile(world, "--apply", "--json")).stdout).toContain('"drifts":[],"repaired":[]');
  }

  test("it leads for as long where no service runs, and repairs what it may", async () => {
    const world = await startDrifted();
    const { pool, tenure } = world;
    await expireLease(pool);
    const result = await reconcile(world, "--apply", "--json");
    // The lease was left free, and is ours again.
    await pool.query("UPDATE lease SET epoch = $1", [tenure.grant.epoch]);
    await expectRepaired(world, result);
  });

  test("it asks the leader where there is one", async () => {
    const world = await startDrifted();
    const { tenure } = world;
    const stop = new AbortController();
    const leader = { ...tenure, stopping: stop.signal, mayBegin: () => !stop.signal.aborted };
    const leading = world.reconcile().run(leader, true);
    const result = await reconcile(world, "--apply", "--json");
    stop.abort();
    await leading;
    await expectRepaired(world, result);
  });

  test("what cannot be repaired is left, and told: exit 1", async () => {
    const world = await startReported();
    const { pool, customer, foreign, tenure } = world;
    await pool.query("INSERT INTO period_boundary VALUES ($1, $2)", [customer, new Date(PAST_HOUR_MS + 77.5 * 60_000)]);
    await foreign(77, 3n);
    await expireLease(pool);
    const { exitCode, stdout } = await reconcile(world, "--apply", "--json");
    await pool.query("UPDATE lease SET epoch = $1", [tenure.grant.epoch]);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ repaired: [], drifts: [{ counted: "3", hindrance: "boundary" }] });
  });
});

test("Stripe away, or a customer that it does not know: one line, exit 1", async () => {
  const world = await startReported();
  await ensureMeters(world.stripe, ["input_tokens"]);
  const unknown = await reconcile(world, "--customer", "cus_of_nobody");
  expect(unknown).toMatchObject({ exitCode: 1, stdout: "" });
  expect(unknown.stderr).toMatch(/^metering: Stripe's sums cannot be read: .*cus_of_nobody.*\n$/);
  await world.simulator.close();
  const away = await reconcile(world);
  expect(away).toMatchObject({ exitCode: 1, stdout: "" });
  expect(away.stderr).toMatch(/^metering: Stripe's sums cannot be read: .*\n$/);
});

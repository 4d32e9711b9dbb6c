import { afterAll, beforeAll, expect, test } from "vitest";
import type { Accounts, InvoiceState, SubscriptionState } from "../../../src/app/ports/accounts.ts";
import { postgresAccounts, readAccount } from "../../../src/postgres/accounts.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 23, 12);
const GRACE = 72 * HOUR;
const period = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) };
const logger = { debug() {}, info() {}, warn() {}, error() {} };

let database: TestDatabase;
let accounts: Accounts;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, 4, "postgres");
  accounts = postgresAccounts(database.pool, { catalog: testCatalog(), shardCount: 4, logger }, "flush");
});
afterAll(() => database.close());

let customers = 0;
const newCustomer = () => `cus_account${customers++}`;

function subscription(stripeCustomerId: string, fields: Partial<SubscriptionState> = {}): SubscriptionState {
  return {
    subscriptionId: `sub_of_${stripeCustomerId}`,
    stripeCustomerId,
    status: "active",
    currentPeriod: period,
    boundariesMs: [period.startMs, period.endMs],
    ...fields,
  };
}
function invoice(stripeCustomerId: string, status: string): InvoiceState {
  const subscriptionId = `sub_of_${stripeCustomerId}`;
  const undated = { finalizesMs: undefined, finalizedMs: undefined, lines: [] };
  return { invoiceId: `in_of_${stripeCustomerId}`, stripeCustomerId, subscriptionId, status, ...undated };
}
function save(state: SubscriptionState): Promise<void> {
  return accounts.exclusively(state.subscriptionId, (writer) => writer.saveSubscription(state));
}
function saveInvoice(state: InvoiceState, failedMs?: number): Promise<unknown> {
  return accounts.exclusively(state.invoiceId, (writer) => writer.saveInvoice(state, failedMs));
}
const read = (customerId: string, nowMs = NOW) => readAccount(database.pool, customerId, nowMs, GRACE);

test("nothing known", async () => {
  expect(await read(newCustomer())).toEqual({ subscriptionStatus: "", entitled: true, billingPeriod: undefined });
});

test("a subscription, as last saved, with its boundaries", async () => {
  const customerId = newCustomer();
  await save(subscription(customerId, { status: "trialing", currentPeriod: undefined, boundariesMs: [] }));
  expect(await read(customerId)).toMatchObject({ subscriptionStatus: "trialing", billingPeriod: undefined });
  await save(subscription(customerId));
  expect(await read(customerId)).toEqual({ subscriptionStatus: "active", entitled: true, billingPeriod: period });
  const result = await database.pool.query("SELECT boundary FROM period_boundary WHERE customer_id = $1 ORDER BY 1", [
    customerId,
  ]);
  expect(result.rows.map((row) => row.boundary.getTime())).toEqual([period.startMs, period.endMs]);
});

test("a customer with an id of the service's own", async () => {
  const stripeId = newCustomer();
  const own = `acme of ${stripeId}`;
  await database.pool.query("INSERT INTO account VALUES ($1, $2)", [own, stripeId]);
  expect(await accounts.customerIdOf(stripeId)).toBe(own);
  expect(await accounts.customerIdOf("cus_unmapped")).toBe("cus_unmapped");
  await save(subscription(stripeId));
  expect(await read(own)).toMatchObject({ subscriptionStatus: "active", billingPeriod: period });
  const result = await database.pool.query("SELECT FROM period_boundary WHERE customer_id = $1", [own]);
  expect(result.rowCount).toBe(2);
});

test("the grace runs from the earliest failure ever heard of, until the invoice is settled", async () => {
  const customerId = newCustomer();
  await save(subscription(customerId, { status: "past_due" }));
  expect((await read(customerId)).entitled).toBe(true);
  await saveInvoice(invoice(customerId, "open"), NOW - HOUR);
  await saveInvoice(invoice(customerId, "open"), NOW - GRACE);
  await saveInvoice(invoice(customerId, "open"), NOW);
  await saveInvoice(invoice(customerId, "open"));
  expect((await read(customerId, NOW - 1)).entitled).toBe(true);
  expect((await read(customerId, NOW)).entitled).toBe(false);
  for (const settled of ["paid", "void"]) {
    await saveInvoice(invoice(customerId, settled));
    expect((await read(customerId)).entitled).toBe(true);
    await saveInvoice(invoice(customerId, "uncollectible"));
    expect((await read(customerId)).entitled).toBe(false);
  }
});

test("an object is one worker's at a time, across processes; other objects do not wait", async () => {
  const other = postgresAccounts(database.connect(), { catalog: testCatalog(), shardCount: 4, logger }, "flush");
  let inside = 0;
  let most = 0;
  const differentRan = Promise.withResolvers<void>();
  const work = async () => {
    inside += 1;
    most = Math.max(most, inside);
    await differentRan.promise;
    // Time for the others to come in, if nothing kept them out.
    await database.pool.query("SELECT pg_sleep(0.02)");
    inside -= 1;
  };
  const all = [accounts, other, accounts, other].map((a) => a.exclusively("sub_same", work));
  await accounts.exclusively("sub_different", async () => differentRan.resolve());
  await Promise.all(all);
  expect(most).toBe(1);
});

test("work that fails writes nothing and lets the next one in", async () => {
  const customerId = newCustomer();
  const failing = accounts.exclusively("sub_failing", async (writer) => {
    await writer.saveSubscription(subscription(customerId));
    throw new Error("Stripe is away");
  });
  await expect(failing).rejects.toThrow("Stripe is away");
  expect((await read(customerId)).subscriptionStatus).toBe("");
  await accounts.exclusively("sub_failing", (writer) => writer.saveSubscription(subscription(customerId)));
  expect((await read(customerId)).subscriptionStatus).toBe("active");
});

test("a connection that is lost in between writes nothing", async () => {
  const customerId = newCustomer();
  const lost = accounts.exclusively("sub_lost", async (writer) => {
    await database.pool.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'",
    );
    await writer.saveSubscription(subscription(customerId));
  });
  await expect(lost).rejects.toThrow();
  expect((await read(customerId)).subscriptionStatus).toBe("");
});

// Invoices as they are kept: what they bill, and until when reports of their periods count.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Accounts, InvoiceState } from "../../../src/app/ports/accounts.ts";
import type { MeteredLine } from "../../../src/domain/metered-lines.ts";
import { postgresAccounts } from "../../../src/postgres/accounts.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";

const DAY = 86_400_000;
const NOV = Date.UTC(2026, 10, 7, 3, 4, 5);
const DEC = Date.UTC(2026, 11, 7, 3, 4, 5);
const FINAL = DEC + 3_600_000;
const logger = { debug() {}, info() {}, warn() {}, error() {} };

let database: TestDatabase;
let accounts: Accounts;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, 4, "postgres");
  accounts = postgresAccounts(database.pool, { catalog: testCatalog(), shardCount: 4, logger }, "flush");
});
afterAll(() => database.close());
beforeEach(() => database.pool.query("TRUNCATE invoice, invoiced_period, report, drift, period_boundary, account"));

const line = (fields: Partial<MeteredLine> = {}): MeteredLine => {
  return { subscriptionItem: "si_1", eventName: "tokens", startMs: NOV, endMs: DEC, quantity: 5n, ...fields };
};

function draft(fields: Partial<InvoiceState> = {}): InvoiceState {
  return {
    invoiceId: "in_1",
    stripeCustomerId: "cus_1",
    subscriptionId: "sub_1",
    status: "draft",
    finalizesMs: FINAL,
    finalizedMs: undefined,
    lines: [line()],
    ...fields,
  };
}
const final = (fields: Partial<InvoiceState> = {}) =>
  draft({ status: "open", finalizesMs: undefined, finalizedMs: FINAL + 1_000, ...fields });

const save = async (state: InvoiceState) =>
  accounts.periodsChanged(
    await accounts.exclusively(state.invoiceId, (writer) => writer.saveInvoice(state, undefined)),
  );
const remove = async (invoiceId: string) =>
  accounts.periodsChanged(await accounts.exclusively(invoiceId, (writer) => writer.removeDraft(invoiceId)));
const rows = async (sql: string) => (await database.pool.query(sql)).rows;
const periods = () =>
  rows("SELECT invoice_id, event_name, period_start, period_end, billed FROM invoiced_period ORDER BY 1, 2, 3");

describe("periods", () => {
  const period = { invoice_id: "in_1", event_name: "tokens", period_start: new Date(NOV), period_end: new Date(DEC) };

  test("of a draft nothing is billed yet; final, it is, and stays so when voided", async () => {
    await save(draft());
    expect(await periods()).toEqual([{ ...period, billed: null }]);
    expect(await rows("SELECT status, finalizes_at, finalized_at FROM invoice")).toEqual([
      { status: "draft", finalizes_at: new Date(FINAL), finalized_at: null },
    ]);
    for (const status of ["open", "paid", "void", "uncollectible"]) {
      await save(final({ status }));
      expect(await periods()).toEqual([{ ...period, billed: "5" }]);
    }
    expect(await rows("SELECT finalizes_at, finalized_at FROM invoice")).toEqual([
      { finalizes_at: null, finalized_at: new Date(FINAL + 1_000) },
    ]);
  });

  test("they are those of the invoice as it is now; one that was closed stays closed", async () => {
    await save(draft({ lines: [line(), line({ eventName: "calls" })] }));
    await save(draft({ lines: [line({ endMs: DEC - DAY }), line({ startMs: DEC, endMs: DEC + DAY })] }));
    expect(await periods()).toEqual([
      { ...period, period_end: new Date(DEC - DAY), billed: null },
      { ...period, period_start: new Date(DEC), period_end: new Date(DEC + DAY), billed: null },
    ]);
    await database.pool.query("UPDATE invoiced_period SET closed_at = 'epoch'");
    await save(final());
    const closed = await rows("SELECT period_start, billed, closed_at FROM invoiced_period ORDER BY 1");
    expect(closed).toEqual([
      { period_start: new Date(NOV), billed: "5", closed_at: new Date(0) },
      { period_start: new Date(DEC), billed: null, closed_at: new Date(0) },
    ]);
  });

  test("what a line does not say is not billed as far as is known", async () => {
    await save(final({ lines: [line({ quantity: undefined })] }));
    expect(await periods()).toEqual([{ ...period, billed: null }]);
  });

  test("a draft that is gone takes its periods along; a final invoice does not go", async () => {
    await save(draft());
    await save(final({ invoiceId: "in_2" }));
    for (const id of ["in_1", "in_2", "in_3"]) await remove(id);
    expect(await rows("SELECT invoice_id FROM invoice")).toEqual([{ invoice_id: "in_2" }]);
    expect(await periods()).toEqual([{ ...period, invoice_id: "in_2", billed: "5" }]);
  });
});

describe("until when a report counts", () => {
  const addReport = (
    identifier: string,
    eventMs: number,
    state = "planned",
    eventName = "tokens",
    customer = "cus_1",
  ) =>
    database.pool.query(
      `INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, state, lease_epoch)
       VALUES ($1, $1, $5, $4, $2, 0, 1, $2, $3, 1)`,
      [identifier, new Date(eventMs), state, eventName, customer],
    );
  const known = async () => {
    const found = await rows("SELECT identifier, finalizes_at FROM report WHERE finalizes_at IS NOT NULL ORDER BY 1");
    return found.map((row) => [row.identifier, row.finalizes_at.getTime()]);
  };

  test("those that are not settled, inside the period, of its meter and customer", async () => {
    for (const state of ["planned", "sending", "unknown", "sent", "accepted", "held", "superseded"])
      await addReport(state, NOV + DAY, state);
    await addReport("at its start", NOV);
    await addReport("before it", NOV - 1_000);
    await addReport("at its end", DEC);
    await addReport("of another meter", NOV + DAY, "planned", "calls");
    await addReport("of another customer", NOV + DAY, "planned", "tokens", "cus_2");
    await save(draft());
    const open = ["at its start", "planned", "sending", "sent", "unknown"];
    expect(await known()).toEqual(open.map((identifier) => [identifier, FINAL]));
    const tight = await rows("SELECT DISTINCT deadline_at::text FROM report WHERE finalizes_at IS NOT NULL");
    expect(tight).toEqual([{ deadline_at: new Date(FINAL).toISOString().slice(0, 19).replace("T", " ") }]);
  });

  test("moved with the draft, fixed by the final invoice, gone with the draft", async () => {
    await addReport("r", NOV + DAY);
    await save(draft());
    await save(draft({ finalizesMs: FINAL + DAY }));
    expect(await known()).toEqual([["r", FINAL + DAY]]);
    await save(draft({ finalizesMs: undefined }));
    expect(await known()).toEqual([]);
    await save(final());
    expect(await known()).toEqual([["r", FINAL + 1_000]]);
    await save(draft({ invoiceId: "in_2" }));
    expect(await known()).toEqual([["r", FINAL]]);
    await remove("in_2");
    expect(await known()).toEqual([["r", FINAL + 1_000]]);
  });

  test("a line that leaves the draft, or moves, lets go of its reports", async () => {
    await addReport("r", NOV + DAY);
    await save(draft());
    await save(draft({ lines: [line({ endMs: NOV + DAY })] }));
    expect(await known()).toEqual([]);
    await save(draft());
    await save(draft({ lines: [] }));
    expect(await known()).toEqual([]);
  });
});

describe("boundaries", () => {
  const boundaries = async () => {
    const found = await rows("SELECT customer_id, boundary FROM period_boundary ORDER BY 1, 2");
    return found.map((row) => [row.customer_id, row.boundary.getTime()]);
  };

  test("for the mapped customer and for usage under the Stripe customer's own id", async () => {
    await database.pool.query("INSERT INTO account VALUES ('acme', 'cus_1')");
    await save(draft());
    await save(final());
    await save(draft({ invoiceId: "in_2", stripeCustomerId: "cus_2", lines: [line({ endMs: NOV + DAY })] }));
    await save(draft({ invoiceId: "in_3", stripeCustomerId: "cus_3", lines: [] }));
    expect(await boundaries()).toEqual([
      ["acme", NOV],
      ["acme", DEC],
      ["cus_1", NOV],
      ["cus_1", DEC],
      ["cus_2", NOV],
      ["cus_2", NOV + DAY],
    ]);
  });
});

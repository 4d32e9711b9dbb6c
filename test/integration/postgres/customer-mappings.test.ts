// Who pays for whom: operators' words, the metadata of Stripe's customers, and the boundaries that come with a mapping.
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Accounts } from "../../../src/app/ports/accounts.ts";
import type { CustomerClaim } from "../../../src/domain/customer-claim.ts";
import { postgresAccounts } from "../../../src/postgres/accounts.ts";
import { listCustomers, mapCustomer } from "../../../src/postgres/customer-mappings.ts";
import { openDeployment } from "../../../src/postgres/deployment.ts";
import { testCatalog } from "../../support/catalog.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";
import { seeded } from "../../support/seed.ts";
import { addUsage } from "../flush/harness.ts";

const logger = { debug() {}, info() {}, warn() {}, error() {} };
const context = { catalog: testCatalog(), shardCount: 4, logger };
const MINUTE = 60_000;
const T0 = Date.UTC(2026, 10, 7, 3, 4);

let database: TestDatabase;
let accounts: Accounts;
beforeAll(async () => {
  database = await createTestDatabase();
  await openDeployment(database.pool, 4, "postgres");
  accounts = postgresAccounts(database.pool, context, "flush");
});
afterAll(() => database.close());
const clear = () =>
  database.pool.query(
    "TRUNCATE account, customer_claim, period_boundary, pending_window, subscription, report, drift, invoice, invoiced_period",
  );
beforeEach(clear);

const rows = async (sql: string) => (await database.pool.query(sql)).rows;
const mappings = async () => {
  const found = await rows("SELECT customer_id, stripe_customer_id, source FROM account ORDER BY 1");
  return found.map((row) => [row.customer_id, row.stripe_customer_id, row.source]);
};
const boundariesOf = async (customerId: string) => {
  const found = await rows("SELECT customer_id, boundary FROM period_boundary ORDER BY 2");
  return found.filter((row) => row.customer_id === customerId).map((row) => row.boundary.getTime());
};
const map = (customerId: string, stripeCustomerId: string, replace = false) =>
  mapCustomer(database.pool, context, customerId, stripeCustomerId, replace);
const claim = (stripeCustomerId: string, customerId: string | undefined, fields: Partial<CustomerClaim> = {}) => {
  const full = { stripeCustomerId, customerId, createdMs: T0, deleted: false, ...fields };
  return accounts.exclusively(stripeCustomerId, (writer) => writer.saveClaim(full));
};
const subscribe = (stripeCustomerId: string, ...boundariesMs: number[]) =>
  accounts.exclusively(`sub_${stripeCustomerId}`, (writer) =>
    writer.saveSubscription({
      subscriptionId: `sub_${stripeCustomerId}`,
      stripeCustomerId,
      status: "active",
      currentPeriod: undefined,
      boundariesMs,
    }),
  );

describe("an operator maps", () => {
  test("once, and again without effect", async () => {
    expect(await map("acme", "cus_1")).toEqual({ kind: "mapped", replaced: [] });
    expect(await map("acme", "cus_1")).toEqual({ kind: "unchanged" });
    expect(await mappings()).toEqual([["acme", "cus_1", "operator"]]);
  });

  test("what is mapped otherwise stays, and is named; with replace it goes", async () => {
    await map("acme", "cus_1");
    await map("zeta", "cus_2");
    const both = [
      { customerId: "acme", stripeCustomerId: "cus_1", source: "operator" },
      { customerId: "zeta", stripeCustomerId: "cus_2", source: "operator" },
    ];
    const taken = await map("acme", "cus_2");
    expect(taken).toEqual({ kind: "taken", by: expect.arrayContaining(both) });
    expect(await mappings()).toEqual(both.map((by) => Object.values(by)));
    expect(await map("acme", "cus_2", true)).toEqual({
      kind: "mapped",
      replaced: expect.arrayContaining([
        { customerId: "acme", from: "cus_1", to: "cus_2" },
        { customerId: "zeta", from: "cus_2", to: undefined },
      ]),
    });
    expect(await mappings()).toEqual([["acme", "cus_2", "operator"]]);
  });

  test("boundaries heard of before and after are the customer's, whichever comes first", async () => {
    await subscribe("cus_1", T0, T0 + 30 * MINUTE);
    await map("acme", "cus_1");
    await subscribe("cus_1", T0 + 30 * MINUTE, T0 + 60 * MINUTE);
    const all = [T0, T0 + 30 * MINUTE, T0 + 60 * MINUTE];
    expect(await boundariesOf("acme")).toEqual(all);
    expect(await boundariesOf("cus_1")).toEqual(all);
    // Usage that waited is cut there, before any of it is frozen.
    await map("zeta", "cus_2");
    expect(await boundariesOf("zeta")).toEqual([]);
  });

  test("mapping and subscriptions at the same time: no boundary is missed", async () => {
    for (let run = 0; run < 20; run++) {
      await clear();
      await Promise.all([
        map("acme", "cus_1"),
        subscribe("cus_1", T0),
        map("zeta", "cus_2"),
        subscribe("cus_2", T0 + MINUTE),
      ]);
      expect([await boundariesOf("acme"), await boundariesOf("zeta")]).toEqual([[T0], [T0 + MINUTE]]);
    }
  });
});

describe("metadata maps", () => {
  test("and maps no longer once it names nobody, or somebody else", async () => {
    await subscribe("cus_1", T0);
    expect(await claim("cus_1", "acme")).toEqual({
      changes: [{ customerId: "acme", from: undefined, to: "cus_1" }],
      standing: "cus_1",
    });
    expect(await boundariesOf("acme")).toEqual([T0]);
    expect(await claim("cus_1", "acme")).toEqual({ changes: [], standing: "cus_1" });
    await claim("cus_1", "zeta");
    expect(await mappings()).toEqual([["zeta", "cus_1", "metadata"]]);
    expect(await claim("cus_1", undefined)).toMatchObject({
      changes: [{ customerId: "zeta", from: "cus_1", to: undefined }],
    });
    expect(await mappings()).toEqual([]);
  });

  test("of two the older Stripe customer stands; the other comes in when it lets go", async () => {
    await claim("cus_young", "acme", { createdMs: T0 + 1000 });
    expect(await claim("cus_z_old", "acme")).toMatchObject({ standing: "cus_z_old" });
    expect(await claim("cus_younger", "acme", { createdMs: T0 + 2000 })).toEqual({
      changes: [],
      standing: "cus_z_old",
    });
    const [listed] = await listCustomers(database.pool, { unmappedOnly: false, limit: 10 });
    expect(listed).toMatchObject({ stripeCustomerId: "cus_z_old", alsoClaimedBy: ["cus_young", "cus_younger"] });
    await claim("cus_z_old", undefined);
    expect(await mappings()).toEqual([["acme", "cus_young", "metadata"]]);
  });

  test("a deleted Stripe customer keeps its customer until another names it", async () => {
    await claim("cus_1", "acme");
    await claim("cus_1", "acme", { deleted: true });
    expect(await mappings()).toEqual([["acme", "cus_1", "metadata"]]);
    await claim("cus_2", "acme", { createdMs: T0 + 1000 });
    expect(await mappings()).toEqual([["acme", "cus_2", "metadata"]]);
  });

  test("an operator's word stands against it, both ways", async () => {
    await map("acme", "cus_1");
    expect(await claim("cus_2", "acme")).toEqual({ changes: [], standing: "cus_1" });
    expect(await claim("cus_1", "zeta")).toEqual({ changes: [], standing: undefined });
    expect(await mappings()).toEqual([["acme", "cus_1", "operator"]]);
    // Once the operator moves on, the claims that had to yield stand.
    await map("acme", "cus_3", true);
    expect(await mappings()).toEqual([
      ["acme", "cus_3", "operator"],
      ["zeta", "cus_1", "metadata"],
    ]);
  });

  test("the operator confirms, or overrules, what metadata said", async () => {
    await claim("cus_1", "acme");
    expect(await map("acme", "cus_1")).toEqual({ kind: "unchanged" });
    await claim("cus_1", undefined);
    expect(await mappings()).toEqual([["acme", "cus_1", "operator"]]);
    await claim("cus_2", "zeta");
    expect(await map("other", "cus_2")).toMatchObject({ kind: "taken" });
    await map("other", "cus_2", true);
    expect((await mappings()).map(([customer]) => customer)).toEqual(["acme", "other"]);
  });

  test("any order of claims and words ends the same", async () => {
    const stripeCustomer = fc.constantFrom("cus_1", "cus_2", "cus_3");
    const claims = fc.uniqueArray(
      fc.record({
        stripeCustomerId: stripeCustomer,
        customerId: fc.option(fc.constantFrom("acme", "zeta"), { nil: undefined }),
        createdMs: fc.constantFrom(T0, T0 + 1000),
        deleted: fc.boolean(),
      }),
      { selector: (one) => one.stripeCustomerId, maxLength: 3 },
    );
    const word = fc.option(fc.tuple(fc.constantFrom("acme", "zeta"), stripeCustomer), { nil: undefined });
    // The last word on each Stripe customer is the given one; what its metadata said before must not matter.
    const earlier = fc.array(fc.tuple(stripeCustomer, fc.constantFrom("acme", "zeta")), { maxLength: 3 });
    const order = fc.array(fc.nat(), { minLength: 8, maxLength: 8 });
    const apply = async (steps: readonly (() => Promise<unknown>)[]) => {
      await clear();
      for (const step of steps) await step();
      return mappings();
    };
    await fc.assert(
      fc.asyncProperty(claims, word, earlier, order, async (finals, operator, before, ranks) => {
        const steps = finals.map((one) => async () => {
          for (const [stripeId, customerId] of before)
            if (stripeId === one.stripeCustomerId) await claim(stripeId, customerId);
          await claim(one.stripeCustomerId, one.customerId, one);
        });
        const spoken = operator === undefined ? [] : [() => map(operator[0], operator[1], true)];
        const straight = await apply([...spoken, ...steps]);
        const shuffled = [...steps, ...spoken]
          .map((step, i) => ({ step, rank: ranks[i] ?? 0 }))
          .sort((a, b) => a.rank - b.rank);
        expect(await apply(shuffled.map(({ step }) => step))).toEqual(straight);
      }),
      seeded(60),
    );
  });
});

describe("the list", () => {
  test("those first whose usage has waited longest, with what waits and until when Stripe takes it", async () => {
    const tokens = (customerId: string, windowStartMs: number, quantity: bigint, eventName = "tokens") => ({
      customerId,
      windowStartMs,
      quantity,
      eventName,
    });
    await addUsage(
      database.pool,
      tokens("acme", T0 + MINUTE, 5n),
      tokens("acme", T0, 7n),
      tokens("acme", T0, 1n, "calls"),
      tokens("cus_9", T0 - MINUTE, 3n),
      tokens("zeta", T0 + 2 * MINUTE, 9_000_000_000_000_000_000n),
      tokens("zeta", T0 + 3 * MINUTE, 9_000_000_000_000_000_000n),
      tokens("reported", T0, 4n),
    );
    await database.pool.query("UPDATE pending_window SET reported = total WHERE customer_id = 'reported'");
    await map("zeta", "cus_1");
    await map("idle", "cus_2");
    const all = await listCustomers(database.pool, { unmappedOnly: false, limit: 10 });
    expect(all.map((one) => [one.customerId, one.stripeCustomerId, one.source])).toEqual([
      ["cus_9", "cus_9", null],
      ["acme", null, null],
      ["zeta", "cus_1", "operator"],
      ["idle", "cus_2", "operator"],
    ]);
    expect(all[2]?.waiting).toEqual([{ eventName: "tokens", quantity: "18000000000000000000" }]);
    expect(await listCustomers(database.pool, { unmappedOnly: true, limit: 10 })).toEqual([
      {
        customerId: "acme",
        stripeCustomerId: null,
        source: null,
        mappedAt: null,
        waiting: [
          { eventName: "calls", quantity: "1" },
          { eventName: "tokens", quantity: "12" },
        ],
        oldestWindowStart: new Date(T0),
        billableUntil: new Date(T0 + 35 * 86_400_000),
        alsoClaimedBy: [],
      },
    ]);
    expect(await listCustomers(database.pool, { unmappedOnly: false, limit: 1 })).toHaveLength(1);
  });
});

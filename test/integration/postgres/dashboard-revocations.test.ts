import { afterAll, beforeAll, expect, test } from "vitest";
import { AccessDirectory } from "../../../src/app/access-directory.ts";
import { REVOCATION_KEPT_MS } from "../../../src/app/ports/access-tokens.ts";
import { ANYBODY, type Caller } from "../../../src/domain/access.ts";
import { postgresAccessTokens } from "../../../src/postgres/access-tokens.ts";
import { testClock } from "../../support/clock.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.close());

const LOGGER = { debug() {}, info() {}, warn() {}, error() {} };
const pageOf = (customerId: string, issuedMs: number): Caller => ({
  ...ANYBODY,
  kind: "dashboard",
  dashboard: { customerId, issuedMs },
});

test("a customer's tokens issued before are none, nobody else's; everybody's are another matter", async () => {
  const tokens = postgresAccessTokens(database.pool);
  const directory = new AccessDirectory({ tokens, clock: testClock(), logger: LOGGER, staleMaxMs: 60_000 });
  await directory.refresh();
  const before = Date.now();
  expect(directory.holds(pageOf("acme", before))).toBe(true);

  const acmeFromMs = await tokens.revokeDashboards("acme");
  await directory.refresh();
  expect(directory.holds(pageOf("acme", acmeFromMs - 1))).toBe(false);
  expect(directory.holds(pageOf("acme", acmeFromMs))).toBe(true);
  for (const other of ["", "globex"]) expect(directory.holds(pageOf(other, before))).toBe(true);

  const allFromMs = await tokens.revokeDashboards("");
  await directory.refresh();
  for (const customerId of ["", "acme", "globex"]) {
    expect(directory.holds(pageOf(customerId, allFromMs - 1))).toBe(false);
    expect(directory.holds(pageOf(customerId, allFromMs))).toBe(true);
  }

  const anew = new AccessDirectory({ tokens, clock: testClock(), logger: LOGGER, staleMaxMs: 60_000 });
  await anew.refresh();
  expect(anew.holds(pageOf("globex", allFromMs - 1))).toBe(false);
});

test("a revocation never moves back, and is forgotten once no token that it ends can live", async () => {
  const tokens = postgresAccessTokens(database.pool);
  const move = (byMs: number) =>
    database.pool.query("UPDATE dashboard_revocation SET not_before = not_before + $1 * interval '1 ms'", [byMs]);
  const first = await tokens.revokeDashboards("acme");
  await move(60_000);
  expect(await tokens.revokeDashboards("acme")).toBe(first + 60_000);
  await move(-REVOCATION_KEPT_MS - 120_000);
  await tokens.revokeDashboards("globex");
  const kept = await tokens.dashboardRevocationsSince(0n, 100);
  expect(kept.map(({ customerId }) => customerId)).toEqual(["globex"]);
});

test("many at once take turns", async () => {
  const tokens = postgresAccessTokens(database.pool);
  await Promise.all(Array.from({ length: 40 }, (_, n) => tokens.revokeDashboards(`customer-${n % 4}`)));
  const revisions = (await tokens.dashboardRevocationsSince(0n, 100)).map(({ revision }) => revision);
  expect(new Set(revisions).size).toBe(revisions.length);
});

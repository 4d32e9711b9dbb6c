import { expect, test } from "vitest";
import { CLOCKS_DIFFER_MS } from "../../../src/domain/access.ts";
import { Access } from "../../../src/rpc/access.ts";
import { DashboardTokens } from "../../../src/rpc/dashboard-tokens.ts";
import { movingClock } from "../../support/moving-clock.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const TTL_MS = 60_000;
const at = (ms: number, deploymentId = "one") =>
  new DashboardTokens({ deploymentId, tokenKey: "key" }, movingClock(ms));

test("a token is good on a replica whose clock is behind, as far as clocks differ", async () => {
  const { token } = await at(NOW_MS + CLOCKS_DIFFER_MS).create({ customerId: "acme" }, TTL_MS);
  expect(await at(NOW_MS).check(token)).toMatchObject({
    customers: new Set(["acme"]),
    dashboard: { customerId: "acme", issuedMs: NOW_MS + CLOCKS_DIFFER_MS },
  });
  expect(await at(NOW_MS - 2_000).check(token)).toBeUndefined();
});

test("it ends when it says, to the second, however clocks differ", async () => {
  const { token, expiresMs } = await at(NOW_MS).create("all", TTL_MS);
  expect(expiresMs).toBe(NOW_MS + TTL_MS);
  expect(await at(expiresMs - 1).check(token)).toMatchObject({ expiresMs, dashboard: { customerId: "" } });
  expect(await at(expiresMs).check(token)).toBeUndefined();
});

test("it is nothing to another deployment, even of the same key", async () => {
  const { token } = await at(NOW_MS).create("all", TTL_MS);
  expect(await at(NOW_MS, "two").check(token)).toBeUndefined();
});

test("a revoked one lets nobody in, and none does where revocations may have gone unheard", async () => {
  const dashboards = at(NOW_MS);
  const { token } = await dashboards.create({ customerId: "acme" }, TTL_MS);
  const header = () => `Bearer ${token}`;
  const directory = { check: () => undefined, holds: () => true, requireFresh() {} };
  expect(await new Access({ dashboards, directory }).admit(header)).toMatchObject({ kind: "dashboard" });
  const revoked = { ...directory, holds: () => false };
  await expect(new Access({ dashboards, directory: revoked }).admit(header)).rejects.toThrow("a valid token is needed");
  const stale = {
    ...directory,
    requireFresh() {
      throw new Error("stale");
    },
  };
  expect(() => new Access({ dashboards, directory: stale }).admit(header)).toThrow("stale");
});

// `metering customers` as an operator has it, on a real database and a simulated Stripe.
import { expect, onTestFinished, test } from "vitest";
import { openStripe } from "../../../src/stripe/client.ts";
import { startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { runCommand } from "../../support/command.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { addUsage, CLOSED_MS } from "../flush/harness.ts";

test("an operator sees whose usage waits, maps it, and maps it otherwise", async () => {
  const { pool, url } = await useServedDatabase();
  const customers = (...args: string[]) => runCommand(["customers", ...args], { DATABASE_URL: url });
  expect(await customers("list")).toMatchObject({ exitCode: 0, stdout: "none\n" });
  await addUsage(pool, { customerId: "acme", quantity: 5n, eventName: "input_tokens" });

  const listed = await customers("list", "--unmapped");
  expect(listed.stdout).toMatch(
    /^acme {2}UNMAPPED\n {4}waits: 5 input_tokens; since .*Z, Stripe takes it until .*Z\n$/,
  );
  const [json] = JSON.parse((await customers("list", "--unmapped", "--json")).stdout);
  expect(json).toMatchObject({ customerId: "acme", oldestWindowStart: new Date(CLOSED_MS).toISOString() });

  const mapped = await customers("map", "acme", "cus_1");
  expect(mapped).toMatchObject({ exitCode: 0, stderr: "" });
  expect(mapped.stdout).toContain("acme is mapped to cus_1");
  expect((await customers("map", "acme", "cus_1")).stdout).toContain("as it was");
  expect((await customers("list", "--unmapped")).stdout).toBe("none\n");

  const refused = await customers("map", "acme", "cus_2");
  expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
  expect(refused.stderr).toContain("acme is mapped to cus_1 (by operator): nothing was done. With --replace");
  const twice = await customers("map", "zeta", "cus_1");
  expect(twice.stderr).toContain("acme is mapped to cus_1");
  expect(twice.stderr).toContain("usage of zeta goes to cus_1 from now on, that of acme waits to be mapped again");

  const replaced = await customers("map", "acme", "cus_2", "--replace");
  expect(replaced.stdout).toContain("Reports that were frozen before stay with the Stripe customer that they name.");
  expect((await customers("list")).stdout).toContain("acme  cus_2, by operator");
  const moved = JSON.parse((await customers("map", "zeta", "cus_2", "--replace", "--json")).stdout);
  expect(moved).toEqual({
    customerId: "zeta",
    stripeCustomerId: "cus_2",
    result: "mapped",
    replaced: [{ customerId: "acme", from: "cus_2" }],
  });
});

test("--check asks Stripe", async () => {
  const { url } = await useServedDatabase();
  const simulator = await startStripeSimulator();
  onTestFinished(() => simulator.close());
  const stripe = openStripe({
    secretKey: "sk_test_x",
    apiBase: new URL(simulator.url),
    maxSockets: 1,
    timeoutMs: 5_000,
  });
  const [live, gone] = [await stripe.customers.create({}), await stripe.customers.create({})];
  await stripe.customers.del(gone.id);
  const environment = { DATABASE_URL: url, STRIPE_SECRET_KEY: "sk_test_x", STRIPE_API_BASE: simulator.url };
  const map = (stripeId: string) => runCommand(["customers", "map", "acme", stripeId, "--check"], environment);
  expect(await map("cus_nobody")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("no customer cus_nobody"),
  });
  expect(await map(gone.id)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("is deleted at Stripe") });
  expect(await map(live.id)).toMatchObject({ exitCode: 0 });
});

test("what is mistyped is said, with exit code 2", async () => {
  const { url } = await useServedDatabase();
  const customers = (...args: string[]) => runCommand(["customers", ...args], { DATABASE_URL: url });
  expect((await customers("map", "acme", "sub_1")).exitCode).toBe(2);
  expect((await customers("map", "", "cus_1")).exitCode).toBe(2);
  expect((await customers("map", "acme")).exitCode).toBe(2);
  expect((await customers("list", "--limit", "0")).exitCode).toBe(2);
});

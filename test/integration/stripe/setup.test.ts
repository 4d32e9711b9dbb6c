// `metering stripe setup` over the official SDK against the simulated Stripe: made once, however often, side by side or cut short.
import Stripe from "stripe";
import { describe, expect, test } from "vitest";
import { THIN_EVENTS } from "../../../src/stripe/setup/event-destination.ts";
import type { SetupItem } from "../../../src/stripe/setup/item.ts";
import { setUpStripe } from "../../../src/stripe/setup/setup.ts";
import { SNAPSHOT_EVENTS } from "../../../src/stripe/setup/webhook-endpoint.ts";
import {
  type Account,
  Barrier,
  METERS,
  MortalClient,
  NAMES,
  price,
  RacingClient,
  run,
  SETUP,
  startAccount,
  stripeOver,
  URL_OF_EVENTS,
  URL_OF_THIN_EVENTS,
  writesOf,
} from "./setup-harness.ts";

const WRITES = 7;

/** Everything in the account that setup may touch. */
async function contents({ stripe }: Account) {
  const list = async (all: AsyncIterable<object>) => {
    const found: object[] = [];
    for await (const one of all) found.push(one);
    return found;
  };
  return {
    meters: await list(stripe.billing.meters.list()),
    products: await list(stripe.products.list()),
    prices: await list(stripe.prices.list()),
    endpoints: await list(stripe.webhookEndpoints.list()),
    destinations: await list(stripe.v2.core.eventDestinations.list({ include: ["webhook_endpoint.url"] })),
  };
}

/** That there is one of each, as wanted. */
async function expectWhole(account: Account): Promise<void> {
  const { meters, products, prices, endpoints, destinations } = await contents(account);
  const meter = (event_name: string) => ({
    event_name,
    status: "active",
    default_aggregation: { formula: "sum" },
    event_time_window: null,
  });
  expect(meters).toMatchObject([meter("output_tokens"), meter("input_tokens")]);
  expect(products).toMatchObject([{ id: "metering", name: "Tokens", active: true }]);
  const [output, input] = meters as { id: string }[];
  const common = { product: "metering", currency: "usd", billing_scheme: "per_unit", active: true };
  const recurring = { interval: "month", interval_count: 1, usage_type: "metered" };
  expect(JSON.parse(JSON.stringify(prices))).toMatchObject([
    { ...common, lookup_key: NAMES[4], unit_amount_decimal: "0.0015", recurring: { ...recurring, meter: output?.id } },
    { ...common, lookup_key: NAMES[3], unit_amount_decimal: "0.0003", recurring: { ...recurring, meter: input?.id } },
  ]);
  expect(endpoints).toMatchObject([
    { url: URL_OF_EVENTS, enabled_events: SNAPSHOT_EVENTS, api_version: Stripe.API_VERSION, status: "enabled" },
  ]);
  expect(destinations).toMatchObject([
    { webhook_endpoint: { url: URL_OF_THIN_EVENTS }, enabled_events: THIN_EVENTS, event_payload: "thin" },
  ]);
}

describe("an account that has nothing", () => {
  test("gets one of each, with the secrets that sign what comes; a second run finds them, and writes nothing", async () => {
    const account = await startAccount();
    const first = await run(account.stripe);
    expect(first.map(({ name }) => name)).toEqual(NAMES);
    for (const item of first) expect(item).toMatchObject({ state: "created", id: expect.stringMatching(/./) });
    expect(first.map(({ secret }) => secret?.slice(0, 6))).toEqual([...Array(5), "whsec_", "whsec_"]);
    await expectWhole(account);
    const writes = writesOf(account.simulator);
    const second = await run(account.stripe);
    expect(second).toEqual(first.map(({ what, name, id }) => ({ what, name, id, state: "found", note: "" })));
    expect(writesOf(account.simulator)).toEqual(writes);
  });

  test("a dry run says what would be made, and sends nothing that writes", async () => {
    const account = await startAccount();
    const items = await run(account.stripe, { dryRun: true });
    expect(items.map(({ name, id, state }) => [name, id, state])).toEqual(
      NAMES.map((name) => [name, "", "would_create"]),
    );
    expect(writesOf(account.simulator)).toEqual({});
    expect((await run(account.stripe)).map(({ state }) => state)).toEqual(NAMES.map(() => "created"));
  });

  test("what the configuration does not name is left alone", async () => {
    const account = await startAccount();
    const setup = { product: undefined, prices: [], webhookUrl: undefined, thinWebhookUrl: undefined };
    expect(await run(account.stripe, { setup, meters: new Map() })).toEqual([]);
    expect(account.simulator.state().answered).toEqual({});
  });

  test("of a new meter whose events carry more, it is told that Stripe will not tell them apart", async () => {
    const { stripe } = await startAccount();
    const meters = new Map([...METERS, ["input_tokens", ["model", "token_type"]]] as const);
    const notes = (await run(stripe, { meters, dryRun: true })).map(({ note }) => note);
    expect(notes[0]).toMatch(/model and token_type/);
    expect(notes[1]).toBe("");
  });
});

describe("runs that race", () => {
  /** That all saw the same ids, and whoever saw a secret saw the same one. */
  function expectEqual(runs: readonly (readonly SetupItem[])[]): void {
    for (const [i, name] of NAMES.entries()) {
      const items = runs.map((items) => items[i]);
      expect(new Set(items.map((item) => item?.id)).size, name).toBe(1);
      expect(new Set(items.flatMap((item) => item?.secret ?? [])).size, name).toBeLessThanOrEqual(1);
    }
  }

  test("several at once end with one of each", async () => {
    const account = await startAccount();
    expectEqual(await Promise.all([1, 2, 3, 4, 5].map(() => run(account.connect()))));
    await expectWhole(account);
  });

  test("each of which has looked before any other writes, end with one of each", { timeout: 30_000 }, async () => {
    const account = await startAccount();
    const barrier = new Barrier(3);
    const clients = [1, 2, 3].map(() => stripeOver(new RacingClient(barrier), account.simulator));
    const runs = await Promise.all(clients.map((stripe) => run(stripe)));
    expectEqual(runs);
    await expectWhole(account);
    for (const items of runs) expect(items.map(({ secret }) => secret?.slice(0, 6))[6]).toBe("whsec_");
  });
});

describe("a run that is killed", () => {
  const moments = Array.from({ length: WRITES }, (_, i) => i + 1);

  test.each(moments)("before write %i is finished by the next run", async (write) => {
    const account = await startAccount();
    const mortal = new MortalClient(write, false);
    void run(stripeOver(mortal, account.simulator));
    await mortal.died;
    const items = await run(account.stripe);
    expect(items.map(({ state }) => state)).toEqual(NAMES.map((_, i) => (i < write - 1 ? "found" : "created")));
    await expectWhole(account);
  });

  test.each(moments)("after write %i, before its answer, is finished by the next run", async (write) => {
    const account = await startAccount();
    const mortal = new MortalClient(write, true);
    void run(stripeOver(mortal, account.simulator));
    await mortal.died;
    const items = await run(account.stripe);
    expect(items.map(({ state }) => state)).toEqual(NAMES.map((_, i) => (i < write ? "found" : "created")));
    await expectWhole(account);
  });

  test("there are no more writes than those", async () => {
    const account = await startAccount();
    await run(stripeOver(new MortalClient(WRITES + 1, true), account.simulator));
    const answers = Object.values(writesOf(account.simulator)).flatMap((byStatus) => Object.entries(byStatus));
    expect(answers.every(([status]) => status === "200")).toBe(true);
    expect(answers.reduce((sum, [, times]) => sum + times, 0)).toBe(WRITES);
  });
});

describe("Stripe that does not go along", () => {
  const routes = [
    ["the meters", "POST /v1/billing/meters", 0],
    ["the product", "POST /v1/products", 2],
    ["the prices", "POST /v1/prices", 3],
    ["the webhook endpoint", "POST /v1/webhook_endpoints", 5],
    ["the event destination", "POST /v2/core/event_destinations", 6],
  ] as const;

  test.each(routes)(
    "a restricted key that may not make %s: told so, and what was settled before is known",
    async (what, route, before) => {
      const { simulator, stripe } = await startAccount();
      simulator.addFault({ route, kind: "forbidden" });
      const settled: string[] = [];
      const all = (async () => {
        for await (const item of setUpStripe({ stripe, meters: METERS, setup: SETUP, dryRun: false }))
          settled.push(item.name);
      })();
      await expect(all).rejects.toMatchObject({
        name: "StripeCallError",
        message: expect.stringMatching(new RegExp(`^${what}: the restricted key in STRIPE_SECRET_KEY may not do this`)),
      });
      expect(settled).toEqual(NAMES.slice(0, before));
    },
  );

  test("a key that Stripe does not know is told so", async () => {
    const { simulator } = await startAccount();
    const stranger = new Stripe("nonsense", { host: "127.0.0.1", port: simulator.port, protocol: "http" });
    await expect(run(stranger)).rejects.toThrow(/^the meters: Stripe does not know the key: check STRIPE_SECRET_KEY/);
  });

  test.each(routes)("%s: an answer that is lost is asked for again, and nothing is made twice", async (_, route) => {
    const account = await startAccount();
    account.simulator.addFault({ route, kind: "reset_after", next: 1 });
    expect((await run(account.stripe)).map(({ state }) => state)).toEqual(NAMES.map(() => "created"));
    await expectWhole(account);
  });

  test.each(routes.slice(3))(
    "%s: a failure that Stripe saved under the key does not last as long as the key",
    { timeout: 20_000 },
    async (_, route) => {
      const account = await startAccount();
      account.simulator.addFault({ route, kind: "server_error", saved: true, next: 1 });
      expect((await run(account.stripe)).map(({ state }) => state)).toEqual(NAMES.map(() => "created"));
      await expectWhole(account);
    },
  );

  test.each(routes.slice(3))(
    "%s: made in spite of an answer that says otherwise, is found and not made twice",
    { timeout: 20_000 },
    async (_, route) => {
      const account = await startAccount();
      account.simulator.addFault({ route, kind: "server_error", processed: true, saved: true, next: 1 });
      await run(account.stripe);
      await expectWhole(account);
    },
  );
});

test("what a person deleted is made anew, although Stripe still has the answer to its first creation", async () => {
  const account = await startAccount();
  const first = await run(account.stripe);
  const idOf = (name: string) => first.find((item) => item.name === name)?.id ?? "";
  await account.stripe.webhookEndpoints.del(idOf(URL_OF_EVENTS));
  await account.stripe.v2.core.eventDestinations.del(idOf(URL_OF_THIN_EVENTS));
  const second = await run(account.stripe);
  expect(second.map(({ state }) => state)).toEqual([...Array(5).fill("found"), "created", "created"]);
  for (const i of [5, 6]) expect(second[i]?.id).not.toBe(first[i]?.id);
  await expectWhole(account);
});

test("more prices than one request can ask for, and meters and endpoints beyond the first page, are found", {
  timeout: 30_000,
}, async () => {
  const { stripe } = await startAccount();
  const names = Array.from({ length: 25 }, (_, i) => `event_${i}`);
  const options = {
    meters: new Map(names.map((name) => [name, []])),
    setup: { prices: names.map((name) => price(name)) },
  };
  await run(stripe, options);
  for (let i = 0; i < 101; i += 1)
    await stripe.webhookEndpoints.create({ url: `https://other.example/${i}`, enabled_events: ["*"] });
  expect((await run(stripe, options)).every(({ state }) => state === "found")).toBe(true);
});

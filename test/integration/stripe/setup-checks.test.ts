// What `metering stripe setup` says of things at Stripe that are not as they should be, and what it does about them.
import Stripe from "stripe";
import { describe, expect, test } from "vitest";
import { STORED_EVENT_TYPES } from "../../../src/app/apply-stripe-events.ts";
import { THIN_EVENTS } from "../../../src/stripe/setup/event-destination.ts";
import { SNAPSHOT_EVENTS } from "../../../src/stripe/setup/webhook-endpoint.ts";
import {
  METERS,
  NAMES,
  price,
  run,
  startAccount,
  URL_OF_EVENTS,
  URL_OF_THIN_EVENTS,
  writesOf,
} from "./setup-harness.ts";

const only = (name: string) => ({
  meters: new Map([[name, []]]),
  setup: { prices: [price(name)], webhookUrl: undefined, thinWebhookUrl: undefined },
});

describe("a meter", () => {
  type Create = Partial<Stripe.Billing.MeterCreateParams>;
  test.each<[what: string, create: Create, advice: RegExp]>([
    ["aggregates otherwise", { default_aggregation: { formula: "last" } }, /aggregates by last, not sum/],
    ["counts one event an hour", { event_time_window: "hour" }, /one event per hour only/],
    [
      "takes the customer from elsewhere",
      { customer_mapping: { type: "by_id", event_payload_key: "who" } },
      /customer from "who"/,
    ],
    ["takes the value from elsewhere", { value_settings: { event_payload_key: "n" } }, /value from "n"/],
  ])("that %s cannot be changed, and no price is made of it", async (_, create, advice) => {
    const { simulator, stripe } = await startAccount();
    const made = {
      display_name: "x",
      event_name: "tokens",
      default_aggregation: { formula: "sum" as const },
      ...create,
    };
    const { id } = await stripe.billing.meters.create(made);
    const before = writesOf(simulator);
    for (const dryRun of [true, false]) {
      const [meter, , ofMeter] = await run(stripe, { ...only("tokens"), dryRun });
      expect(meter).toMatchObject({ state: "cannot_change", id, note: expect.stringMatching(advice) });
      expect(meter?.note).toContain("bill under another event name");
      expect(ofMeter).toMatchObject({
        state: "cannot_change",
        id: "",
        note: expect.stringContaining("first its meter"),
      });
    }
    expect(writesOf(simulator)).toEqual({ ...before, "POST /v1/products": { 200: 1 } });
  });

  test("that is inactive stays so, and is told", async () => {
    const { stripe } = await startAccount();
    const [made] = await run(stripe);
    await stripe.billing.meters.deactivate(made?.id ?? "");
    const items = await run(stripe);
    expect(items[0]).toMatchObject({ state: "cannot_change", note: expect.stringMatching(/inactive: reactivate it/) });
    expect(items.slice(1).every(({ state }) => state === "found")).toBe(true);
    expect((await stripe.billing.meters.retrieve(made?.id ?? "")).status).toBe("inactive");
  });
});

describe("the product", () => {
  test("that is called otherwise is renamed", async () => {
    const { simulator, stripe } = await startAccount();
    await run(stripe);
    const before = writesOf(simulator);
    const renamed = { setup: { product: { id: "metering", name: "LLM tokens" } } };
    const note = 'its name: "Tokens" -> "LLM tokens"';
    expect((await run(stripe, { ...renamed, dryRun: true }))[2]).toMatchObject({ state: "would_change", note });
    expect(writesOf(simulator)).toEqual(before);
    expect((await run(stripe, renamed))[2]).toMatchObject({ state: "changed", note });
    expect((await stripe.products.retrieve("metering")).name).toBe("LLM tokens");
    expect((await run(stripe, renamed))[2]).toMatchObject({ state: "found" });
  });

  test("may be one that is there already", async () => {
    const { stripe } = await startAccount();
    const { id } = await stripe.products.create({ name: "Tokens" });
    expect((await run(stripe, { setup: { product: { id, name: "Tokens" } } }))[2]).toMatchObject({
      state: "found",
      id,
    });
    expect((await stripe.prices.list({ product: id })).data).toHaveLength(2);
  });

  test("that is archived is told, and no price is made of it", async () => {
    const { stripe } = await startAccount();
    await stripe.products.create({ id: "metering", name: "Tokens", active: false });
    const items = await run(stripe);
    expect(items[2]).toMatchObject({ state: "cannot_change", note: expect.stringContaining("archived") });
    expect(items[3]).toMatchObject({
      state: "cannot_change",
      id: "",
      note: expect.stringContaining("first its product"),
    });
    expect((await stripe.prices.list()).data).toEqual([]);
  });
});

describe("a price", () => {
  const lookup_key = "metering_tokens_usd_month";

  test.each<[what: string, create: Partial<Stripe.PriceCreateParams>, note: string]>([
    ["currency", { currency: "eur" }, "its currency is eur, not usd"],
    ["amount", { unit_amount_decimal: Stripe.Decimal.from("0.0004") }, "its amount is 0.0004, not 0.0003"],
    ["interval", { recurring: { interval: "year", usage_type: "metered" } }, "its interval is 1 year, not 1 month"],
    [
      "count of intervals",
      { recurring: { interval: "month", interval_count: 3, usage_type: "metered" } },
      "its interval is 3 month",
    ],
    ["kind", { recurring: { interval: "month" } }, "it is not metered"],
    ["rounding", { transform_quantity: { divide_by: 1000, round: "up" } }, "its amount is not per unit"],
    ["product", { product: "other" }, "its product is other, not metering"],
    ["meter", {}, "its meter is"],
  ])("with another %s cannot be changed: told, with the way out", async (what, create, note) => {
    const { simulator, stripe } = await startAccount();
    for (const id of ["metering", "other"]) await stripe.products.create({ id, name: "Tokens" });
    const [tokens, other] = await Promise.all(
      ["tokens", "other"].map((name) =>
        stripe.billing.meters.create({ display_name: name, event_name: name, default_aggregation: { formula: "sum" } }),
      ),
    );
    const meter = (what === "meter" ? other : tokens)?.id ?? "";
    const { recurring = { interval: "month", usage_type: "metered" } as const, ...rest } = create;
    const { id } = await stripe.prices.create({
      product: "metering",
      currency: "usd",
      unit_amount_decimal: Stripe.Decimal.from("0.0003"),
      lookup_key,
      ...rest,
      recurring: recurring.usage_type === "metered" ? { ...recurring, meter } : recurring,
    });
    const before = writesOf(simulator);
    for (const dryRun of [true, false]) {
      const item = (await run(stripe, { ...only("tokens"), dryRun }))[2];
      expect(item).toMatchObject({ state: "cannot_change", id, name: lookup_key });
      expect(item?.note).toContain(note);
      expect(item?.note).toMatch(
        /another lookupKey, so that a new price is made, move the subscriptions over, and archive price_/,
      );
    }
    expect(writesOf(simulator)).toEqual(before);
  });

  test("whose lookup key changes is made anew, beside the old one", async () => {
    const { stripe } = await startAccount();
    const [, , old] = await run(stripe, only("tokens"));
    const prices = [price("tokens", { lookupKey: "tokens-2", unitAmountDecimal: "0.0004" })];
    const [, , made] = await run(stripe, { ...only("tokens"), setup: { ...only("tokens").setup, prices } });
    expect(made).toMatchObject({ state: "created", name: "tokens-2" });
    expect((await stripe.prices.retrieve(old?.id ?? "")).active).toBe(true);
  });

  test("of twelve decimal places is found again as it is", async () => {
    const { stripe } = await startAccount();
    const prices = [price("tokens", { unitAmountDecimal: "12345678.000000000001" })];
    const options = { ...only("tokens"), setup: { ...only("tokens").setup, prices } };
    expect((await run(stripe, options))[2]).toMatchObject({ state: "created" });
    expect((await run(stripe, options))[2]).toMatchObject({ state: "found" });
  });

  test("that is archived stays so, and is told", async () => {
    const { stripe } = await startAccount();
    const [, , made] = await run(stripe, only("tokens"));
    await stripe.prices.update(made?.id ?? "", { active: false });
    expect((await run(stripe, only("tokens")))[2]).toMatchObject({
      state: "cannot_change",
      note: expect.stringContaining("archived"),
    });
  });
});

describe("the webhook endpoint", () => {
  test("asks for every kind of snapshot event that the service stores", () => {
    const thin: readonly string[] = THIN_EVENTS;
    const snapshots = [...STORED_EVENT_TYPES].filter((type) => !thin.includes(type));
    expect(SNAPSHOT_EVENTS).toEqual(expect.arrayContaining(snapshots));
    expect(snapshots.length).toBeGreaterThan(5);
  });

  test("that lacks events gets them, and keeps those it had", async () => {
    const { simulator, stripe } = await startAccount();
    const { id } = await stripe.webhookEndpoints.create({
      url: URL_OF_EVENTS,
      enabled_events: ["invoice.created", "charge.failed"],
    });
    const before = writesOf(simulator);
    expect((await run(stripe, { dryRun: true }))[5]).toMatchObject({
      state: "would_change",
      id,
      note: expect.stringMatching(/^adds customer\.created, .*speaks API version of the account/),
    });
    expect(writesOf(simulator)).toEqual(before);
    expect((await run(stripe))[5]).toMatchObject({ state: "changed", id });
    const { enabled_events } = await stripe.webhookEndpoints.retrieve(id);
    expect(new Set(enabled_events)).toEqual(new Set(["charge.failed", ...SNAPSHOT_EVENTS]));
    expect((await run(stripe))[5]).toMatchObject({ state: "found", id });
  });

  test("that gets all events lacks none; however its URL is written, it is the same", async () => {
    const { stripe } = await startAccount();
    await stripe.webhookEndpoints.create({
      url: "https://METERING.example:443/webhooks/stripe",
      enabled_events: ["*"],
    });
    expect((await run(stripe))[5]).toMatchObject({ state: "found" });
    expect((await stripe.webhookEndpoints.list()).data).toHaveLength(1);
  });

  test("that is disabled stays so, and is told", async () => {
    const { stripe } = await startAccount();
    const id = (await run(stripe))[5]?.id ?? "";
    await stripe.webhookEndpoints.update(id, { disabled: true });
    expect((await run(stripe))[5]).toMatchObject({ state: "cannot_change", note: expect.stringContaining("disabled") });
    expect((await stripe.webhookEndpoints.retrieve(id)).status).toBe("disabled");
  });

  test("that is there twice is told; an enabled one counts", async () => {
    const { stripe } = await startAccount();
    const ids = [];
    for (const _ of [1, 2])
      ids.push((await stripe.webhookEndpoints.create({ url: URL_OF_EVENTS, enabled_events: [...SNAPSHOT_EVENTS] })).id);
    await stripe.webhookEndpoints.update(ids[0] ?? "", { disabled: true });
    expect((await run(stripe))[5]).toMatchObject({
      state: "found",
      id: ids[1],
      note: expect.stringContaining(`${ids[0]} too has this URL`),
    });
  });
});

describe("the event destination", () => {
  const destination = {
    name: "mine",
    type: "webhook_endpoint",
    event_payload: "thin",
    enabled_events: ["v1.billing.meter.no_meter_found"],
    webhook_endpoint: { url: URL_OF_THIN_EVENTS },
  } as const;

  test("that lacks events gets them, and keeps those it had", async () => {
    const { simulator, stripe } = await startAccount();
    const { id } = await stripe.v2.core.eventDestinations.create({
      ...destination,
      enabled_events: ["v1.billing.meter.no_meter_found", "v2.core.account.created"],
    });
    const before = writesOf(simulator);
    const note = "adds v1.billing.meter.error_report_triggered";
    expect((await run(stripe, { dryRun: true }))[6]).toMatchObject({ state: "would_change", id, note });
    expect(writesOf(simulator)).toEqual(before);
    expect((await run(stripe))[6]).toMatchObject({ state: "changed", id, note });
    const { enabled_events } = await stripe.v2.core.eventDestinations.retrieve(id);
    expect(new Set(enabled_events)).toEqual(new Set(["v2.core.account.created", ...THIN_EVENTS]));
    expect((await run(stripe))[6]).toMatchObject({ state: "found" });
  });

  test("of snapshot events at that URL is another thing", async () => {
    const { stripe } = await startAccount();
    await stripe.v2.core.eventDestinations.create({
      ...destination,
      event_payload: "snapshot",
      enabled_events: ["invoice.created"],
    });
    expect((await run(stripe))[6]).toMatchObject({ state: "created" });
  });

  test("that is disabled stays so, and is told", async () => {
    const { stripe } = await startAccount();
    const id = (await run(stripe))[6]?.id ?? "";
    await stripe.v2.core.eventDestinations.disable(id);
    expect((await run(stripe))[6]).toMatchObject({ state: "cannot_change", note: expect.stringContaining("disabled") });
  });
});

test("what needs a person keeps nothing else from being made", async () => {
  const { stripe } = await startAccount();
  await stripe.billing.meters.create({
    display_name: "x",
    event_name: "input_tokens",
    default_aggregation: { formula: "count" },
  });
  const states = (await run(stripe, { meters: METERS })).map(({ state }) => state);
  expect(states).toEqual(NAMES.map((name) => (name.includes("input_tokens") ? "cannot_change" : "created")));
});

// Keys, routes, and the plain objects: customers, meters, products, prices.
import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { createMeter, raw, refusal, START, sdk, startMetering, startWorld } from "./harness.ts";

describe("keys and headers", () => {
  test("without a key, or with one that isn't a test key, 401 in Stripe's shape", async () => {
    const { simulator } = await startWorld();
    const none = await raw(simulator, "GET", "/v1/customers", undefined, { authorization: "" });
    expect(none).toMatchObject({ status: 401, body: { error: { type: "invalid_request_error" } } });
    expect(await refusal(sdk(simulator, "sk_live_123456789").customers.list())).toMatchObject({
      class: "StripeAuthenticationError",
      status: 401,
      message: "Invalid API Key provided: sk_live_*****6789",
    });
  });

  test("given keys are the only ones accepted", async () => {
    const { simulator } = await startWorld({ apiKeys: ["sk_test_mine"] });
    expect((await sdk(simulator, "sk_test_mine").customers.list()).data).toEqual([]);
    expect(await refusal(sdk(simulator, "sk_test_other").customers.list())).toMatchObject({ status: 401 });
  });

  test("every answer has its own Request-Id and the caller's Stripe-Version", async () => {
    const { simulator } = await startWorld();
    const first = await raw(simulator, "GET", "/v1/customers", undefined, { "stripe-version": "2025-03-31.basil" });
    const second = await raw(simulator, "GET", "/v1/nothing");
    expect(first.headers.get("stripe-version")).toBe("2025-03-31.basil");
    expect(first.headers.get("request-id")).toMatch(/^req_\w{14}$/);
    expect(second.headers.get("request-id")).not.toBe(first.headers.get("request-id"));
    expect(second).toMatchObject({
      status: 404,
      body: { error: { message: expect.stringContaining("Unrecognized request URL (GET: /v1/nothing).") } },
    });
  });

  test.each(["a=%E0%A4%A", "a[b][c][d][e][f][g][h][i]=1"])("a broken body is a 400: %s", async (body) => {
    const { simulator } = await startWorld();
    expect(await raw(simulator, "POST", "/v1/customers", body)).toMatchObject({ status: 400 });
  });

  test("a body past 4 MiB is a 413", async () => {
    const { simulator } = await startWorld();
    const body = `name=${"x".repeat(5 << 20)}`;
    expect(await raw(simulator, "POST", "/v1/customers", body)).toMatchObject({ status: 413 });
  });
});

describe("customers", () => {
  test("are created, read, changed and deleted", async () => {
    const { stripe, simulator } = await startWorld();
    const ada = await stripe.customers.create({ name: "Ada", email: "ada@example.com", metadata: { tenant: "a b&c" } });
    expect(ada).toMatchObject({ object: "customer", created: START, metadata: { tenant: "a b&c" }, livemode: false });
    await stripe.customers.update(ada.id, { email: "", metadata: { tenant: "", plan: "pro" } });
    expect(await stripe.customers.retrieve(ada.id)).toMatchObject({
      name: "Ada",
      email: null,
      metadata: { plan: "pro" },
    });
    expect(await stripe.customers.del(ada.id)).toMatchObject({ id: ada.id, deleted: true });
    expect(await stripe.customers.retrieve(ada.id)).toMatchObject({ id: ada.id, deleted: true });
    expect(await refusal(stripe.customers.update(ada.id, { name: "x" }))).toMatchObject({ status: 404 });
    expect(simulator.state().counts).toMatchObject({ customers: 1 });
    const types = (await stripe.events.list()).data.map(({ type }) => type);
    expect(types).toEqual(["customer.deleted", "customer.updated", "customer.created"]);
  });

  test("are listed newest first, in pages, by email, without the deleted", async () => {
    const { stripe } = await startWorld();
    const ids: string[] = [];
    for (let i = 0; i < 12; i += 1) ids.push((await stripe.customers.create({ email: `${i}@example.com` })).id);
    await stripe.customers.del(ids[3] ?? "");
    const listed: string[] = [];
    for await (const { id } of stripe.customers.list({ limit: 5 })) listed.push(id);
    expect(listed).toEqual(ids.filter((_id, index) => index !== 3).reverse());
    expect((await stripe.customers.list({ email: "7@example.com" })).data).toMatchObject([{ id: ids[7] }]);
    expect((await stripe.customers.list({ created: { gt: START } })).data).toEqual([]);
    expect((await stripe.customers.list({ created: { gte: START } })).data).toHaveLength(10);
  });

  test("an unknown one is a 404, an unknown cursor a 400", async () => {
    const { stripe } = await startWorld();
    expect(await refusal(stripe.customers.retrieve("cus_no"))).toMatchObject({
      status: 404,
      code: "resource_missing",
      message: "No such customer: 'cus_no'",
    });
    expect(await refusal(stripe.customers.list({ starting_after: "cus_no" }))).toMatchObject({ status: 400 });
  });
});

describe("meters", () => {
  test("are created with Stripe's defaults, listed by status, renamed", async () => {
    const { stripe } = await startWorld();
    const tokens = await createMeter(stripe, "tokens");
    const other = await createMeter(stripe, "other", {
      customer_mapping: { type: "by_id", event_payload_key: "who" },
      value_settings: { event_payload_key: "how_much" },
      event_time_window: "day",
      default_aggregation: { formula: "count" },
    });
    expect(await stripe.billing.meters.retrieve(tokens)).toMatchObject({
      customer_mapping: { event_payload_key: "stripe_customer_id", type: "by_id" },
      value_settings: { event_payload_key: "value" },
      event_time_window: null,
      status: "active",
    });
    expect((await stripe.billing.meters.deactivate(other)).status_transitions.deactivated_at).toBe(START);
    expect((await stripe.billing.meters.list({ status: "active" })).data.map(({ id }) => id)).toEqual([tokens]);
    expect((await stripe.billing.meters.list()).data.map(({ id }) => id)).toEqual([other, tokens]);
    expect((await stripe.billing.meters.update(tokens, { display_name: "New" })).display_name).toBe("New");
  });

  test("an event name belongs to one meter, active or not", async () => {
    const { stripe } = await startWorld();
    const tokens = await createMeter(stripe, "tokens");
    await stripe.billing.meters.deactivate(tokens);
    expect(await refusal(createMeter(stripe, "tokens"))).toMatchObject({
      class: "StripeInvalidRequestError",
      status: 400,
    });
    expect(await refusal(stripe.billing.meters.deactivate(tokens))).toMatchObject({ status: 400 });
  });

  test("their own payload keys decide whom an event belongs to", async () => {
    const { stripe, simulator } = await startWorld();
    const customer = (await stripe.customers.create({})).id;
    await createMeter(stripe, "other", {
      customer_mapping: { type: "by_id", event_payload_key: "who" },
      value_settings: { event_payload_key: "how_much" },
    });
    await stripe.billing.meterEvents.create({ event_name: "other", payload: { who: customer, how_much: "4" } });
    expect(simulator.sum("other", customer)).toBe("4");
  });

  test.each([
    ["no formula", { default_aggregation: undefined }, "Missing required param: default_aggregation."],
    [
      "an unknown formula",
      { default_aggregation: { formula: "max" } },
      "Invalid default_aggregation[formula]: must be one of count, last, sum",
    ],
    [
      "a nested parameter that is missing",
      { customer_mapping: { type: "by_id" } },
      "Missing required param: customer_mapping[event_payload_key].",
    ],
    [
      "an unknown nested parameter",
      { value_settings: { key: "x", event_payload_key: "v" } },
      "Received unknown parameter: value_settings[key]",
    ],
    ["a name that is too long", { display_name: "x".repeat(251) }, "must be at most 250 characters"],
  ])("%s is refused", async (_name, change, message) => {
    const { stripe } = await startWorld();
    const refused = await refusal(createMeter(stripe, "tokens", change as object));
    expect(refused).toMatchObject({ status: 400, message: expect.stringContaining(message) });
  });
});

describe("prices", () => {
  test("a metered price needs an active meter", async () => {
    const { stripe } = await startWorld();
    const meter = await createMeter(stripe, "tokens");
    const create = (recurring: object) =>
      stripe.prices.create({
        currency: "usd",
        unit_amount: 1,
        product_data: { name: "Tokens" },
        recurring: { interval: "month", ...recurring },
      });
    expect(await refusal(create({ usage_type: "metered" }))).toMatchObject({ status: 400 });
    expect(await refusal(create({ usage_type: "metered", meter: "mtr_no" }))).toMatchObject({
      code: "resource_missing",
    });
    expect(await create({ usage_type: "metered", meter })).toMatchObject({
      recurring: { meter, usage_type: "metered" },
    });
    await stripe.billing.meters.deactivate(meter);
    expect(await refusal(create({ usage_type: "metered", meter }))).toMatchObject({ status: 400 });
  });

  test("a lookup key belongs to one price, archived or not", async () => {
    const { stripe, meter } = await startMetering();
    const create = (lookup_key: string) =>
      stripe.prices.create({
        currency: "usd",
        unit_amount: 1,
        product_data: { name: "Tokens" },
        recurring: { interval: "month", usage_type: "metered", meter },
        lookup_key,
      });
    const { id } = await create("one");
    await stripe.prices.update(id, { active: false });
    expect(await refusal(create("one"))).toMatchObject({
      status: 400,
      message: `A price (\`${id}\`) already uses that lookup key.`,
    });
    await create("two");
    expect((await stripe.prices.list({ lookup_keys: ["one"] })).data.map((price) => price.id)).toEqual([id]);
  });

  test("amounts have up to twelve decimal places", async () => {
    const { stripe } = await startWorld();
    const product = (await stripe.products.create({ name: "Tokens" })).id;
    const create = (amount: string) =>
      stripe.prices.create({ currency: "usd", product, unit_amount_decimal: amount as never });
    const price = await create("0.000000000001");
    expect(String(price.unit_amount_decimal)).toBe("0.000000000001");
    expect(price.unit_amount).toBeNull();
    expect((await create("12")).unit_amount).toBe(12);
    expect(await refusal(create("0.0000000000001"))).toMatchObject({ status: 400 });
  });
});

test("a caller that hangs up in the middle of its request disturbs nobody", async () => {
  const errors: unknown[] = [];
  const { simulator, stripe } = await startWorld({ onError: (error) => errors.push(error) });
  const socket = connect(simulator.port, "127.0.0.1");
  socket.write("POST /v1/customers HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nname=");
  await once(socket, "connect");
  await stripe.customers.list();
  socket.destroy();
  await once(socket, "close");
  await stripe.customers.create({});
  expect(errors).toEqual([]);
});

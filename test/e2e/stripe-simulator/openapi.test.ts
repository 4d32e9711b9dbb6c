// The checks against Stripe's OpenAPI document can fail: one broken exchange of each kind, beside its sound twin.
import { describe, expect, test } from "vitest";
import { accountRouter } from "../../../src/stripe-simulator/routes.ts";
import type { RecordedExchange } from "../../../src/stripe-simulator/server.ts";
import { billingDocument } from "../../support/stripe-openapi/document.ts";
import { exchangeCheck } from "../../support/stripe-openapi/exchange-check.ts";
import { event, raw, START, startMetering, startSubscribed } from "./harness.ts";

const document = billingDocument();

describe.runIf(document !== null)("the check against Stripe's OpenAPI", () => {
  const check = exchangeCheck(document ?? { paths: {}, components: { schemas: {} } });

  /** The last exchange of what a test did, as it was recorded. */
  async function recorded(
    act: (world: Awaited<ReturnType<typeof startSubscribed>>) => Promise<unknown>,
  ): Promise<RecordedExchange> {
    const exchanges: RecordedExchange[] = [];
    const world = await startSubscribed({}, { onExchange: (exchange) => exchanges.push(exchange) });
    await act(world);
    const last = exchanges.at(-1);
    if (last === undefined) throw new Error("nothing was recorded");
    return last;
  }

  /** The exchange with its answer changed. */
  function answering(exchange: RecordedExchange, change: (answer: Answer) => void): RecordedExchange {
    const answer = JSON.parse(exchange.answerBody);
    change(answer);
    return { ...exchange, answerBody: JSON.stringify(answer) };
  }
  type Answer = Record<string, unknown> & { data: Answer[]; items: { data: Answer[] }; error: Answer };

  test("finds what a request lacks, adds, and mistypes in its form", async () => {
    const sound = await recorded(({ stripe, customer }) =>
      stripe.billing.meterEvents.create(event(customer, 5, "i", START)),
    );
    expect(sound).toMatchObject({ method: "POST", path: "/v1/billing/meter_events", status: 200, isWhole: true });
    expect(check(sound)).toEqual([]);
    const sending = (requestBody: string) => check({ ...sound, requestBody });
    const where = "POST /v1/billing/meter_events (200):";
    expect(sending("event_name=tokens")).toEqual([`${where} body must have required property 'payload'`]);
    expect(sending("event_name=tokens&payload[a]=1&timestamp=soon")).toEqual([
      `${where} body/timestamp must be integer`,
    ]);
    expect(sending("event_name=tokens&payload[a]=1&timestamp=1.5")).toEqual([
      `${where} body/timestamp must be integer`,
    ]);
    expect(sending("event_name=tokens&payload[a][b]=1")).toEqual([`${where} body/payload/a must be string`]);
    expect(sending("event_name=tokens&payload[a]=1&color=red")).toEqual([
      `${where} body must NOT have additional properties "color"`,
    ]);
    expect(sending(`event_name=tokens&payload[a]=1&identifier=${"i".repeat(101)}`)).toEqual([
      `${where} body/identifier must NOT have more than 100 characters`,
    ]);
    expect(check({ ...sound, requestHeaders: { "content-type": "application/json" } })).toEqual([
      `${where} the body is application/json, not application/x-www-form-urlencoded`,
    ]);
  });

  test("lets a broken request be refused, and nothing else", async () => {
    const sound = await recorded(({ stripe, customer }) => stripe.billing.meterEvents.create(event(customer, 5)));
    const error = { error: { type: "invalid_request_error", message: "Missing required param: payload." } };
    const broken = { ...sound, requestBody: "event_name=tokens", answerBody: JSON.stringify(error) };
    expect(check({ ...broken, status: 400 })).toEqual([]);
    for (const status of [409, 429, 500]) expect(check({ ...broken, status })).toHaveLength(1);
  });

  test("finds what a query adds and mistypes, and a route that Stripe does not have", async () => {
    const sound = await recorded(({ stripe }) => stripe.customers.list({ limit: 3, created: { gte: START } }));
    expect(check(sound)).toEqual([]);
    expect(check({ ...sound, query: "limit=three" })).toEqual(["GET /v1/customers (200): query/limit must be integer"]);
    expect(check({ ...sound, query: "color=red" })).toHaveLength(1);
    expect(check({ ...sound, path: "/v1/colors" })).toContain(
      "GET /v1/colors (200): Stripe has no such route, and it was not refused",
    );
  });

  test("finds what an answer lacks, adds, mistypes and misnames, deep in it and in lists", async () => {
    const sound = await recorded(({ stripe, subscription }) => stripe.subscriptions.retrieve(subscription.id));
    expect(check(sound)).toEqual([]);
    const broken = (change: (answer: Answer) => void) =>
      check(answering(sound, change)).map((line) => line.split("): ")[1]);
    expect(broken((answer) => delete answer["status"])).toEqual(["answer must have required property 'status'"]);
    expect(broken((answer) => Object.assign(answer, { current_period_end: START }))).toEqual([
      'answer must NOT have additional properties "current_period_end"',
    ]);
    expect(broken((answer) => Object.assign(answer, { created: "today" }))).toEqual(["answer/created must be integer"]);
    expect(broken((answer) => Object.assign(answer, { status: "asleep" }))).toHaveLength(1);
    expect(broken((answer) => delete answer.items.data[0]?.["current_period_end"])).toEqual([
      "answer/items/data/0 must have required property 'current_period_end'",
    ]);
    // Null stands only where the document allows it.
    expect(broken((answer) => Object.assign(answer, { description: null }))).toEqual([]);
    expect(broken((answer) => Object.assign(answer, { currency: null }))).toEqual(["answer/currency must be string"]);
  });

  test("finds errors that are not Stripe's, and objects in events that are not their kind's", async () => {
    const missing = await recorded(({ simulator }) => raw(simulator, "GET", "/v1/customers/cus_no"));
    expect(missing.status).toBe(404);
    expect(check(missing)).toEqual([]);
    expect(check(answering(missing, (answer) => delete answer.error["type"]))).toHaveLength(1);
    expect(check(answering(missing, (answer) => Object.assign(answer.error, { type: "oops" })))).toHaveLength(1);
    const events = await recorded(({ stripe }) => stripe.events.list({ type: "customer.subscription.created" }));
    expect(check(events)).toEqual([]);
    const spoil = ({ data: [first] }: { data: unknown[] }) => {
      delete (first as { data: { object: { items?: unknown } } }).data.object.items;
    };
    expect(check(answering(events, spoil))).toEqual([
      "GET /v1/events (200): event customer.subscription.created must have required property 'items'",
    ]);
  });

  test("v2 bodies are JSON, and v2 codes come with their status", () => {
    const sound: RecordedExchange = {
      method: "POST",
      path: "/v2/billing/meter_events",
      query: "",
      requestHeaders: { "content-type": "application/json" },
      requestBody: JSON.stringify({
        event_name: "tokens",
        payload: { value: "5" },
        timestamp: "2026-01-01T00:00:00.000Z",
      }),
      isRequestWhole: true,
      status: 400,
      contentType: "application/json",
      answerBody: JSON.stringify({ error: { code: "duplicate_meter_event", message: "..." } }),
      isWhole: true,
    };
    expect(check(sound)).toEqual([]);
    expect(check({ ...sound, status: 409 })).toEqual([
      "POST /v2/billing/meter_events (409): duplicate_meter_event comes with 400, not 409",
    ]);
    const counted = {
      object: "v2.billing.meter_event",
      created: "2026-01-01T00:00:00.000Z",
      event_name: "tokens",
      identifier: "i",
      livemode: false,
      payload: { value: "5" },
      timestamp: "2026-01-01T00:00:00.000Z",
    };
    const answered = { ...sound, status: 200, answerBody: JSON.stringify(counted) };
    expect(check(answered)).toEqual([]);
    // Where a form cannot tell 5 from "5", JSON can.
    const mistyped = JSON.stringify({ event_name: "tokens", payload: { value: 5 } });
    expect(check({ ...answered, requestBody: mistyped })).toEqual([
      "POST /v2/billing/meter_events (200): body/payload/value must be string",
    ]);
    const number = JSON.stringify({ ...counted, created: START });
    expect(check({ ...answered, answerBody: number })).toHaveLength(1);
  });

  test("every route of the simulator is one of Stripe's", () => {
    const known = new Set(
      Object.entries(document?.paths ?? {}).flatMap(([path, operations]) =>
        Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{\w+\}/g, ":id")}`),
      ),
    );
    const routes = accountRouter().routes.filter((route) => !route.includes("/_simulator/"));
    expect(routes.length).toBeGreaterThan(30);
    expect(routes.filter((route) => !known.has(route))).toEqual([]);
  });
});

test("an exchange log hears of answers, of cut ones, and of none", async () => {
  const exchanges: RecordedExchange[] = [];
  const { simulator, stripe, customer } = await startMetering({ onExchange: (exchange) => exchanges.push(exchange) });
  exchanges.splice(0);
  for (const kind of ["truncated", "reset_after", "bad_gateway"] as const) {
    simulator.addFault({ route: "GET /v1/customers/:id", kind, next: 1 });
    await stripe.customers.retrieve(customer, {}, { maxNetworkRetries: 0 }).catch(() => {});
  }
  await expect
    .poll(() => exchanges.map(({ status, isWhole, contentType }) => [status, isWhole, contentType]))
    .toEqual([
      [200, false, "application/json"],
      [null, false, ""],
      // The SDK tries once more by itself after a reset.
      [200, true, "application/json"],
      [502, true, "text/html"],
    ]);
});

// Error reports as Stripe documents them, over the wire and through the official SDK.
import { expect, test } from "vitest";
import { MESSAGE_MAX } from "../../../src/domain/report.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeObjects } from "../../../src/stripe/objects.ts";
import { type Answer, json, startStandIn, stripeError } from "./stand-in.ts";

const never = new AbortController().signal;
const logger = { debug() {}, info() {}, warn() {}, error() {} };
const missing = stripeError(404, { type: "invalid_request_error", code: "resource_missing", message: "No such thing" });
const meter = json(200, { id: "mtr_1", object: "billing.meter", event_name: "tokens", status: "active" });

const failed = (identifier: string, error_message = "bad") => ({ error_message, request: { identifier } });

function event(error_types: object[], fields: object = {}): object {
  return {
    id: "evt_1",
    object: "v2.core.event",
    type: "v1.billing.meter.error_report_triggered",
    created: "2026-11-23T18:00:22.000Z",
    livemode: false,
    related_object: { id: "mtr_1", type: "billing.meter", url: "/v1/billing/meters/mtr_1" },
    data: {
      developer_message_summary: "There are invalid events",
      reason: { error_count: 1, error_types },
      validation_start: "2026-11-23T18:00:10.000Z",
      validation_end: "2026-11-23T18:00:20.000Z",
    },
    ...fields,
  };
}

async function read(fullEvent: Answer, meterAnswer: Answer = meter) {
  const standIn = await startStandIn((response, request) => {
    const answer = request.path.startsWith("/v2/core/events/evt_1") ? fullEvent : meterAnswer;
    answer(response, request);
  });
  const stripe = openStripe({ secretKey: "sk_test_1", apiBase: standIn.url, maxSockets: 1, timeoutMs: 5_000 });
  return stripeObjects(stripe, logger).meterErrorReport("evt_1", never);
}

test("in full: meter, window, codes, samples", async () => {
  const types = [
    { code: "meter_event_customer_not_found", error_count: 3, sample_errors: [failed("u-1", "No such customer")] },
    { code: "archived_meter", error_count: 1, sample_errors: [] },
  ];
  expect(await read(json(200, event(types)))).toEqual({
    eventId: "evt_1",
    eventName: "tokens",
    validation: { startMs: Date.UTC(2026, 10, 23, 18, 0, 10), endMs: Date.UTC(2026, 10, 23, 18, 0, 20) },
    errors: [
      {
        code: "meter_event_customer_not_found",
        count: 3,
        samples: [{ identifier: "u-1", message: "No such customer" }],
      },
      { code: "archived_meter", count: 1, samples: [] },
    ],
  });
});

test("samples of the older form are named by their idempotency key", async () => {
  const older = { error_message: "bad", request: { id: "req_1", idempotency_key: "u-2" } };
  const found = await read(json(200, event([{ code: "no_meter", error_count: 1, sample_errors: [older] }])));
  expect(found?.errors[0]?.samples).toEqual([{ identifier: "u-2", message: "bad" }]);
});

test("a code that comes twice is one", async () => {
  const type = (identifier: string) => ({ code: "no_meter", error_count: 2, sample_errors: [failed(identifier)] });
  const found = await read(json(200, event([type("u-1"), type("u-2")])));
  expect(found?.errors).toMatchObject([{ code: "no_meter", count: 4, samples: [{ identifier: "u-1" }, {}] }]);
});

test("no meter was found: the event is about none", async () => {
  const fields = { type: "v1.billing.meter.no_meter_found", related_object: undefined };
  expect(await read(json(200, event([], fields)), () => expect.unreachable())).toMatchObject({ eventName: undefined });
});

test("a meter that is gone", async () => {
  expect(await read(json(200, event([])), missing)).toMatchObject({ eventName: undefined });
});

test("what anybody could put into an identifier or a message can be stored", async () => {
  const sample = failed("a\u0000b\uD800", `\u0000${"😀".repeat(MESSAGE_MAX)}`);
  const found = await read(json(200, event([{ code: "no_meter", error_count: 1, sample_errors: [sample] }])));
  const [stored] = found?.errors[0]?.samples ?? [];
  expect(stored?.identifier).toBe("a\uFFFDb\uFFFD");
  expect(stored?.message.length).toBeLessThanOrEqual(MESSAGE_MAX);
  expect(stored?.message.isWellFormed()).toBe(true);
});

test("an event that Stripe no longer has", async () => expect(await read(missing)).toBeUndefined());

test("an event of another type, and a time that is none, are no error reports", async () => {
  await expect(read(json(200, event([], { type: "v1.customer.created" })))).rejects.toThrow("v1.customer.created");
  const data = { reason: { error_count: 0, error_types: [] }, validation_start: "soon", validation_end: "later" };
  await expect(read(json(200, event([], { data })))).rejects.toThrow("no time");
});

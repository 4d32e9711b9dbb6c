// Every row of what Stripe may answer, over the wire and through the official SDK.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import type { MeterSink } from "../../../src/app/ports/reports.ts";
import type { Report } from "../../../src/domain/report.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterEvents } from "../../../src/stripe/meter-events.ts";
import { invalid, type Row, rowsOfAnyCall, rowsOfV1 } from "./answers.ts";
import { acceptedEvent, json, startStandIn, stripeError } from "./stand-in.ts";

const report: Report = {
  identifier: "u-1700000000-0-0123456789abcdef",
  kind: "usage",
  origin: undefined,
  customerId: "acme",
  stripeCustomerId: "cus_1",
  eventName: "input_tokens",
  payload: "{}",
  windowStartMs: 1_700_000_000_000,
  sequence: 0,
  value: 123_456_789_012_345n,
  timestampMs: 1_700_000_000_000,
  late: false,
};
const never = new AbortController().signal;

function sinkAt(apiBase: URL, options: { timeoutMs?: number; limitMs?: number } = {}) {
  const { timeoutMs = 5_000, limitMs = 10_000 } = options;
  return stripeMeterEvents(openStripe({ secretKey: "sk_test_1", apiBase, maxSockets: 4, timeoutMs }), limitMs);
}

const sendOne = async (sink: MeterSink, one: Report, signal = never) => (await sink.send([one], signal))[0];

const rows: readonly Row[] = [
  ["200 with the event", acceptedEvent, { kind: "accepted" }],
  ...rowsOfAnyCall,
  ...rowsOfV1,
  [
    "duplicate identifier, by its message (no code, as observed)",
    invalid(`An event already exists with identifier ${report.identifier}.`, undefined, 400, {
      "stripe-should-retry": "false",
    }),
    { kind: "duplicate" },
  ],
  ["duplicate identifier, by v2's code", invalid("reworded", "duplicate_meter_event"), { kind: "duplicate" }],
  [
    "no active meter",
    invalid('No active meter found for event name "input_tokens".'),
    { kind: "refused", code: "no_active_meter" },
  ],
  ["no meter, by v2's code", invalid("reworded", "no_meter"), { kind: "refused", code: "no_active_meter" }],
  ["archived meter, by v2's code", invalid("reworded", "archived_meter"), { kind: "refused", code: "no_active_meter" }],
  ["no such customer", invalid("No such customer: 'cus_1'"), { kind: "refused", code: "no_such_customer" }],
  [
    "no such customer, 404",
    invalid("No such customer: 'cus_1'", "resource_missing", 404),
    { kind: "refused", code: "no_such_customer" },
  ],
  [
    "the meter looks for the customer under another key",
    invalid("Customer mapping key who not found in payload."),
    { kind: "refused", code: "unfit_meter" },
  ],
  [
    "the same, by v2's code",
    invalid("reworded", "payload_no_customer_defined"),
    { kind: "refused", code: "unfit_meter" },
  ],
  [
    "the meter looks for the value under another key, by v2's code",
    invalid("There is no value.", "payload_no_value_defined"),
    { kind: "refused", code: "unfit_meter" },
  ],
  [
    "older than 35 days",
    invalid(
      "The event timestamp cannot be more than 35 days in past. Expected a timestamp greater than or equal to 1758141836.",
    ),
    { kind: "refused", code: "timestamp_too_old" },
  ],
  [
    "in the future",
    invalid("The event timestamp cannot be more than 5 minutes in the future."),
    { kind: "refused", code: "timestamp_in_future" },
  ],
  [
    "too many digits",
    invalid("The value in the event payload can have at most 15 digits. Received 1234567890123456."),
    { kind: "refused", code: "invalid_value" },
  ],
  ["value, by v2's code", invalid("reworded", "payload_invalid_value"), { kind: "refused", code: "invalid_value" }],
  [
    "any other 400",
    invalid("Received unknown parameter: foo", "parameter_unknown"),
    { kind: "refused", code: "other" },
  ],
  ["any other 404", invalid("something is gone", undefined, 404), { kind: "refused", code: "other" }],
  [
    "409 concurrent for the customer and meter",
    invalid("Cannot create multiple usage events concurrently", "too_many_concurrent_requests", 409),
    { kind: "unknown" },
  ],
  ["200 with JSON that is no meter event", json(200, {}), { kind: "unknown" }],
  [
    "200 with another's event",
    json(200, { object: "billing.meter_event", identifier: "somebody else's" }),
    { kind: "unknown" },
  ],
];

describe("an answer of Stripe's to an event becomes an outcome, after exactly one request", () => {
  test.each(rows)("%s", async (_, answer, outcome) => {
    const standIn = await startStandIn(answer);
    expect(await sendOne(sinkAt(standIn.url), report)).toMatchObject(outcome);
    expect(standIn.requests).toHaveLength(1);
  });
});

test("the request carries the frozen report", async () => {
  const standIn = await startStandIn(acceptedEvent);
  await sendOne(sinkAt(standIn.url), { ...report, value: -5n });
  const [request] = standIn.requests;
  expect(`${request?.method} ${request?.path}`).toBe("POST /v1/billing/meter_events");
  expect(Object.fromEntries(request?.body ?? [])).toEqual({
    event_name: "input_tokens",
    identifier: report.identifier,
    timestamp: "1700000000",
    "payload[stripe_customer_id]": "cus_1",
    "payload[value]": "-5",
  });
  expect(request?.headers["idempotency-key"]).toBe(report.identifier);
  expect(request?.headers.authorization).toBe("Bearer sk_test_1");
  expect(request?.headers["x-stripe-client-telemetry"]).toBeUndefined();
});

test("a message tells the operator what happened", async () => {
  const standIn = await startStandIn(stripeError(500, { type: "api_error", message: "An unknown error occurred" }));
  const outcome = await sendOne(sinkAt(standIn.url), report);
  expect(outcome).toMatchObject({ message: "An unknown error occurred; HTTP 500; request req_1" });
});

describe("where there is no answer", () => {
  test("nobody listens: surely not processed, so it is tried later without a horizon", async () => {
    const port = await freePort();
    const outcome = await sendOne(sinkAt(new URL(`http://127.0.0.1:${port}`)), report);
    expect(outcome).toMatchObject({ kind: "throttled", message: expect.stringContaining("ECONNREFUSED") });
  });

  test("no address on any of the host's addresses", async () => {
    const port = await freePort();
    const outcome = await sendOne(sinkAt(new URL(`http://localhost:${port}`)), report);
    expect(outcome).toMatchObject({ kind: "throttled" });
  });

  test("a silent server: unknown, after the client's timeout", async () => {
    const standIn = await startStandIn(() => {});
    const outcome = await sendOne(sinkAt(standIn.url, { timeoutMs: 100 }), report);
    expect(outcome).toMatchObject({ kind: "unknown", message: expect.stringContaining("timeout") });
    expect(standIn.requests).toHaveLength(1);
  });

  test("an answer that drips in without end: unknown, after the limit", async () => {
    const standIn = await startStandIn((response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const drip = setInterval(() => response.write(" "), 20);
      response.on("close", () => clearInterval(drip));
    });
    const outcome = await sendOne(sinkAt(standIn.url, { timeoutMs: 1_000, limitMs: 200 }), report);
    expect(outcome).toMatchObject({ kind: "unknown" });
  });

  test("an abort ends the wait at once", async () => {
    const abort = new AbortController();
    const standIn = await startStandIn(() => abort.abort());
    expect(await sendOne(sinkAt(standIn.url), report, abort.signal)).toMatchObject({ kind: "unknown" });
    expect(standIn.requests).toHaveLength(1);
  });

  test("nothing is sent after an abort", async () => {
    const standIn = await startStandIn(acceptedEvent);
    expect(await sendOne(sinkAt(standIn.url), report, AbortSignal.abort())).toMatchObject({ kind: "unknown" });
    expect(standIn.requests).toHaveLength(0);
  });
});

test("connections are kept and bounded", async () => {
  const standIn = await startStandIn(acceptedEvent);
  const sink = sinkAt(standIn.url);
  const outcomes = await Promise.all(Array.from({ length: 40 }, () => sendOne(sink, report)));
  expect(outcomes.every((outcome) => isDeepStrictEqual(outcome, { kind: "accepted" }))).toBe(true);
  expect(standIn.requests).toHaveLength(40);
  expect(await standIn.connections()).toBeLessThanOrEqual(4);
});

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

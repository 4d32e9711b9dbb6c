// Cancels, through either sink: every row of what Stripe may answer, over the wire and through the official SDK. No wording of
// Stripe's is known here; those below are the simulator's and others that mean the same.
import { describe, expect, test } from "vitest";
import type { MeterSink } from "../../../src/app/ports/reports.ts";
import type { Report } from "../../../src/domain/report.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterEvents } from "../../../src/stripe/meter-events.ts";
import { stripeMeterStream } from "../../../src/stripe/meter-stream.ts";
import { testClock } from "../../support/clock.ts";
import { invalid, type Row, rowsOfAnyCall, rowsOfV1 } from "./answers.ts";
import { type Answer, json, startStandIn } from "./stand-in.ts";

const cancel: Report = {
  identifier: "u-1700000000-1-0123456789abcdef",
  kind: "cancel",
  origin: "u-1700000000-0-0123456789abcdef",
  customerId: "acme",
  stripeCustomerId: "cus_1",
  eventName: "input_tokens",
  payload: "{}",
  windowStartMs: 1_700_000_000_000,
  sequence: 1,
  value: -5n,
  timestampMs: 1_700_000_000_000,
  late: false,
};
const never = new AbortController().signal;

const sinks: Readonly<Record<string, (apiBase: URL) => MeterSink>> = {
  v1: (apiBase) => stripeMeterEvents(stripeAt(apiBase), 10_000),
  stream: (apiBase) => stripeMeterStream(stripeAt(apiBase), testClock(), 10_000),
};

function stripeAt(apiBase: URL) {
  return openStripe({ secretKey: "sk_test_1", apiBase, maxSockets: 4, timeoutMs: 5_000 });
}

function adjustment(status: string, identifier?: string): Answer {
  return (response, request) => {
    json(200, {
      object: "billing.meter_event_adjustment",
      event_name: request.body.get("event_name"),
      type: "cancel",
      cancel: { identifier: identifier ?? request.body.get("cancel[identifier]") },
      status,
      livemode: false,
    })(response, request);
  };
}

const cannot = { kind: "refused", code: "cannot_cancel" };

const rows: readonly Row[] = [
  ["200, pending", adjustment("pending"), { kind: "accepted" }],
  ["200, complete", adjustment("complete"), { kind: "accepted" }],
  ...rowsOfAnyCall,
  ...rowsOfV1,
  ["cancelled before", invalid("The event with identifier u-1 was already cancelled."), { kind: "duplicate" }],
  ["cancelled before, spelled otherwise", invalid("Event has already been canceled."), { kind: "duplicate" }],
  ["cancelled before, by a code", invalid("reworded", "already_canceled"), { kind: "duplicate" }],
  ["no such event", invalid("No meter event found with identifier u-1."), cannot],
  ["no such event, 404", invalid("No such meter event: 'u-1'", "resource_missing", 404), cannot],
  ["over 24 h", invalid("The event with identifier u-1 was received more than 24 hours ago."), cannot],
  ["v2's code", invalid("reworded", "invalid_cancel_configuration"), cannot],
  ["any other 400", invalid("Received unknown parameter: foo", "parameter_unknown"), cannot],
  [
    "no active meter",
    invalid('No active meter found for event name "input_tokens".'),
    { kind: "refused", code: "no_active_meter" },
  ],
  ["200 with JSON that is no adjustment", json(200, {}), { kind: "unknown" }],
  ["200 with another's adjustment", adjustment("pending", "somebody else's"), { kind: "unknown" }],
];

describe.each(Object.entries(sinks))("%s: an answer of Stripe's to a cancel becomes an outcome", (_, sinkAt) => {
  test.each(rows)("%s", async (_, answer, outcome) => {
    const standIn = await startStandIn(answer);
    expect(await sinkAt(standIn.url).send([cancel], never)).toMatchObject([outcome]);
    expect(standIn.requests).toHaveLength(1);
  });

  test("the request names the event to cancel, under the cancel's own key", async () => {
    const standIn = await startStandIn(adjustment("pending"));
    await sinkAt(standIn.url).send([cancel], never);
    const [request] = standIn.requests;
    expect(`${request?.method} ${request?.path}`).toBe("POST /v1/billing/meter_event_adjustments");
    expect(Object.fromEntries(request?.body ?? [])).toEqual({
      event_name: "input_tokens",
      type: "cancel",
      "cancel[identifier]": cancel.origin,
    });
    expect(request?.headers["idempotency-key"]).toBe(cancel.identifier);
    expect(request?.headers.authorization).toBe("Bearer sk_test_1");
  });

  test("an abort ends the wait at once", async () => {
    const abort = new AbortController();
    const standIn = await startStandIn(() => abort.abort());
    expect(await sinkAt(standIn.url).send([cancel], abort.signal)).toMatchObject([{ kind: "unknown" }]);
  });
});

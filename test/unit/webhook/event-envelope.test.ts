import { expect, test } from "vitest";
import { parseEvent } from "../../../src/webhook/event-envelope.ts";

const snapshot = {
  id: "evt_1",
  object: "event",
  type: "customer.subscription.updated",
  created: 1_795_000_000,
  data: { object: { id: "sub_1", object: "subscription" } },
};
const thin = {
  id: "evt_test_65",
  object: "v2.core.event",
  type: "v1.billing.meter.error_report_triggered",
  created: "2026-11-23T18:00:00.123Z",
  related_object: { id: "mtr_1", type: "billing.meter", url: "/v1/billing/meters/mtr_1" },
};

function parse(body: unknown) {
  return parseEvent(Buffer.from(JSON.stringify(body)));
}

test("a snapshot event", () => {
  expect(parse(snapshot)).toEqual({
    form: "snapshot",
    eventId: "evt_1",
    type: "customer.subscription.updated",
    createdMs: 1_795_000_000_000,
    objectId: "sub_1",
    payload: JSON.stringify(snapshot),
  });
});

test("an object without an id: an upcoming invoice", () => {
  expect(parse({ ...snapshot, type: "invoice.upcoming", data: { object: {} } })).toMatchObject({ objectId: "" });
});

test("a thin event", () => {
  const createdMs = Date.UTC(2026, 10, 23, 18);
  expect(parse(thin)).toMatchObject({ form: "thin", eventId: "evt_test_65", createdMs, objectId: "mtr_1" });
  for (const related_object of [undefined, null, {}]) {
    expect(parse({ ...thin, related_object })).toMatchObject({ objectId: "" });
  }
});

test.each([
  ["not an object", 7],
  ["null", null],
  ["no id", { ...snapshot, id: undefined }],
  ["an id that no query should see", { ...snapshot, id: "evt_\u0000" }],
  ["an endless id", { ...snapshot, id: `evt_${"a".repeat(255)}` }],
  ["another object", { ...snapshot, object: "charge" }],
  ["no type", { ...snapshot, type: undefined }],
  ["a created that is no time", { ...snapshot, created: "yesterday" }],
  ["a created beyond all calendars", { ...snapshot, created: 1e15 }],
  ["no data", { ...snapshot, data: undefined }],
  ["a data.object.id that is no id", { ...snapshot, data: { object: { id: { $ne: 1 } } } }],
  ["a thin event with a snapshot's time", { ...thin, created: 1_795_000_000 }],
])("not an event: %s", (_, body) => {
  expect(parse(body)).toBeUndefined();
});

test("not JSON", () => {
  expect(parseEvent(Buffer.from('{"id": "evt_1"'))).toBeUndefined();
  expect(parseEvent(Buffer.alloc(0))).toBeUndefined();
});

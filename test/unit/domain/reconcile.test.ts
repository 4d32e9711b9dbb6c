// What follows from what Stripe counted, by examples.
import { describe, expect, test } from "vitest";
import type { SpanReport } from "../../../src/domain/explain-drift.ts";
import { decide, freezeRemedy, type SpanView } from "../../../src/domain/reconcile.ts";
import { HELD_OUTCOME_UNKNOWN, identifierOf, RESEND_HORIZON_MS } from "../../../src/domain/report.ts";
import {
  APPLY,
  AUTOMATIC,
  again,
  HOUR_MS,
  LAG_MS,
  NOW_MS,
  report,
  START_MS,
  unknown,
  view,
} from "./reconcile-views.ts";

describe("sums that agree", () => {
  test("are confirmed: what the stream took is accepted", () => {
    const [a, b] = [report(5n), report(7n, { state: "sent" })];
    expect(decide(view(12n, [a, b]), AUTOMATIC)).toEqual({
      kind: "agree",
      accept: [b.identifier],
      reconciled: [a.identifier, b.identifier],
    });
  });

  test("also confirm what was held for its unknown fate", () => {
    const [a, b] = [report(5n), unknown(7n)];
    expect(decide(view(12n, [a, b]), AUTOMATIC)).toMatchObject({ kind: "agree", accept: [b.identifier] });
  });

  test("need bookings, and not what an invoice left out", () => {
    const reports = [report(5n), report(-5n, { kind: "drift" }), report(-3n, { kind: "unbilled" })];
    expect(decide(view(0n, reports), AUTOMATIC)).toMatchObject({ kind: "agree" });
  });

  test("after a refusal that followed a send of unknown fate: it was counted", () => {
    const refused = report(7n, { state: "held", reason: "no_such_customer" });
    expect(decide(view(12n, [report(5n), refused]), AUTOMATIC)).toMatchObject({
      kind: "agree",
      accept: [refused.identifier],
    });
  });
});

describe("nothing is said while something is under way", () => {
  test.each<[string, Partial<SpanReport>]>([
    ["being sent", { state: "sending", settledMs: undefined }],
    ["of unknown fate", { state: "unknown", settledMs: undefined }],
    ["accepted a moment ago", { settledMs: NOW_MS - LAG_MS }],
    ["taken by the stream a moment ago", { state: "sent", settledMs: NOW_MS - LAG_MS }],
    ["held a moment ago", { state: "held", reason: HELD_OUTCOME_UNKNOWN, settledMs: NOW_MS - LAG_MS }],
  ])("%s", (_, fields) => {
    expect(decide(view(0n, [report(5n, fields)]), APPLY)).toEqual({ kind: "wait" });
    expect(decide(view(5n, [report(5n, fields)]), APPLY)).toEqual({ kind: "wait" });
  });

  test("what was never sent is not waited for, and not expected", () => {
    const never = { firstAttemptMs: undefined, settledMs: undefined };
    const reports = [
      report(5n),
      report(6n, { ...never, state: "planned" }),
      report(7n, { ...never, state: "held", reason: "late", settledMs: NOW_MS }),
    ];
    expect(decide(view(5n, reports), AUTOMATIC)).toMatchObject({ kind: "agree" });
  });
});

describe("sums that differ", () => {
  test("over more than a minute: look closer", () => {
    const hour = { endMs: START_MS + HOUR_MS };
    expect(decide(view(0n, [report(5n)], hour), AUTOMATIC)).toEqual({ kind: "narrow" });
    expect(decide(view(5n, [], hour), APPLY)).toEqual({ kind: "narrow" });
    expect(decide(view(5n, [], hour), AUTOMATIC)).toMatchObject({ kind: "open", hindrance: "foreign" });
  });

  test("taken by the stream, not counted: sent again while Stripe knows the identifier, then booked and repaired", () => {
    const sent = report(5n, { state: "sent", firstAttemptMs: NOW_MS - RESEND_HORIZON_MS + 1 });
    expect(decide(view(7n, [report(7n), sent]), AUTOMATIC)).toMatchObject({
      kind: "resend",
      resend: [sent.identifier],
    });
    const old = report(5n, { state: "sent", firstAttemptMs: NOW_MS - RESEND_HORIZON_MS });
    expect(again(view(7n, [report(7n), old]), AUTOMATIC)).toMatchObject({
      kind: "repair",
      drift: { explanation: "never_sent", expected: 12n, counted: 7n },
      accept: [old.identifier],
      remedy: { difference: -5n, cancels: undefined, heldFor: undefined },
    });
  });

  test("unknown fate, not counted: taken for accepted, booked, repaired", () => {
    const doubtful = unknown(5n);
    expect(again(view(7n, [report(7n), doubtful]), AUTOMATIC)).toMatchObject({
      kind: "repair",
      drift: { explanation: "unknown", expected: 12n, counted: 7n },
      accept: [doubtful.identifier],
      remedy: { difference: -5n },
    });
  });

  test("unknown fate of what takes something back", () => {
    expect(again(view(7n, [report(7n), unknown(-2n)]), AUTOMATIC)).toMatchObject({
      drift: { explanation: "unknown" },
      remedy: { difference: 2n, cancels: undefined },
    });
  });

  test("refused, says an error report over the sends: the repair waits for somebody", () => {
    const errors = [{ code: "meter_event_customer_not_found", startMs: NOW_MS - 2 * HOUR_MS, endMs: NOW_MS - HOUR_MS }];
    const sent = report(5n, { state: "sent" });
    expect(again(view(0n, [sent], { errors }), AUTOMATIC)).toMatchObject({
      kind: "repair",
      drift: { explanation: "refused" },
      remedy: { difference: -5n, heldFor: "meter_event_customer_not_found" },
    });
    const elsewhere = errors.map((error) => ({ ...error, startMs: NOW_MS - HOUR_MS }));
    expect(decide(view(0n, [sent], { errors: elsewhere }), AUTOMATIC)).toMatchObject({ kind: "resend" });
  });

  test("what takes back and what adds, both not counted: made up for together", () => {
    const verdict = again(view(100n, [report(100n), report(-70n), report(5n)]), AUTOMATIC);
    expect(verdict).toMatchObject({
      kind: "repair",
      drift: { explanation: "never_sent" },
      remedy: { difference: 65n },
    });
  });

  test("counted twice: the event is cancelled for a day, then taken back", () => {
    const young = report(5n);
    expect(again(view(10n, [young]), AUTOMATIC)).toMatchObject({
      drift: { explanation: "counted_twice" },
      remedy: { difference: 5n, cancels: young.identifier },
    });
    const old = report(5n, { firstAttemptMs: NOW_MS - RESEND_HORIZON_MS });
    expect(again(view(10n, [old]), AUTOMATIC)).toMatchObject({
      drift: { explanation: "counted_twice" },
      remedy: { difference: 5n, cancels: undefined },
    });
  });

  test("of several events that would do, the youngest that is not cancelled yet is", () => {
    const [first, second, third] = [1, 2, 3].map((hours) => report(5n, { firstAttemptMs: NOW_MS - hours * HOUR_MS }));
    const never = { firstAttemptMs: undefined, settledMs: undefined };
    const cancel = report(-5n, { ...never, kind: "cancel", origin: first?.identifier, state: "planned" });
    const booking = report(5n, { ...never, kind: "drift" });
    const reports = [first, second, third, booking, cancel].filter((one) => one !== undefined);
    expect(again(view(25n, reports), AUTOMATIC)).toMatchObject({ remedy: { cancels: second?.identifier } });
  });

  test("foreign: left alone until an operator says so", () => {
    const foreign = view(8n, [report(5n)]);
    expect(decide(foreign, AUTOMATIC)).toMatchObject({
      kind: "open",
      drift: { explanation: "foreign" },
      hindrance: "foreign",
      reconciled: [expect.any(String)],
    });
    expect(decide(foreign, APPLY)).toMatchObject({ kind: "repair", remedy: { difference: 3n, cancels: undefined } });
    expect(decide(view(8n, []), APPLY)).toMatchObject({
      remedy: { customerId: "acme", payload: "{}", windowStartMs: START_MS, timestampMs: START_MS, difference: 8n },
    });
  });

  test("beyond the limit, either way: left open without --apply; a limit of 0 repairs nothing", () => {
    expect(again(view(0n, [report(1_000n)]), AUTOMATIC)).toMatchObject({ kind: "repair" });
    expect(decide(view(0n, [report(1_001n)]), AUTOMATIC)).toMatchObject({ kind: "open", hindrance: "limit" });
    expect(decide(view(2_002n, [report(1_001n)]), AUTOMATIC)).toMatchObject({ kind: "open", hindrance: "limit" });
    expect(decide(view(0n, [report(1_001n)]), APPLY)).toMatchObject({ kind: "repair" });
    expect(decide(view(0n, [report(1n)]), { ...AUTOMATIC, repairLimit: 0n })).toMatchObject({ hindrance: "limit" });
  });

  test("a first look is not enough, nor one that found other numbers, nor two in quick succession", () => {
    const drifted = view(0n, [report(5n)]);
    const seen = (open: SpanView["open"]) => decide({ ...drifted, open }, AUTOMATIC);
    const foundAtMs = drifted.readAtMs - LAG_MS;
    expect(seen(undefined)).toMatchObject({ kind: "open", hindrance: "unconfirmed" });
    expect(seen({ expected: 5n, counted: 1n, foundAtMs })).toMatchObject({ hindrance: "unconfirmed" });
    expect(seen({ expected: 6n, counted: 0n, foundAtMs })).toMatchObject({ hindrance: "unconfirmed" });
    expect(seen({ expected: 5n, counted: 0n, foundAtMs: foundAtMs + 1 })).toMatchObject({ hindrance: "unconfirmed" });
    expect(seen({ expected: 5n, counted: 0n, foundAtMs })).toMatchObject({ kind: "repair" });
  });

  test("too old for Stripe, or too large for one event: left open even with --apply", () => {
    const startMs = NOW_MS - 34 * 24 * HOUR_MS;
    expect(decide(view(0n, [report(5n)], { startMs, endMs: startMs + 60_000 }), APPLY)).toMatchObject({
      hindrance: "too_old",
    });
    const large = [report(999_999_999_999_999n), report(1n)];
    expect(decide(view(0n, large), APPLY)).toMatchObject({ hindrance: "too_large" });
  });
});

describe("a minute that a billing period ends in", () => {
  const boundariesMs = [START_MS + 30_000];
  const [before, after] = [
    { timestampMs: START_MS },
    { timestampMs: START_MS + 30_000, windowStartMs: START_MS + 30_000 },
  ];

  test("what may be of either period is left for a person", () => {
    const both = [report(5n, before), report(7n, after)];
    for (const counted of [0n, 13n]) {
      expect(decide(view(counted, both, { boundariesMs }), APPLY)).toMatchObject({
        kind: "open",
        hindrance: "boundary",
      });
    }
  });

  test("of two reports, one on either side, the value tells which is missing", () => {
    const both = [report(5n, before), report(7n, after)];
    const remedyOf = (counted: bigint) => decide(view(counted, both, { boundariesMs }), APPLY);
    expect(remedyOf(7n)).toMatchObject({ kind: "repair", remedy: { timestampMs: START_MS, difference: -5n } });
    expect(remedyOf(5n)).toMatchObject({ kind: "repair", remedy: { timestampMs: START_MS + 30_000, difference: -7n } });
  });

  test("the value also tells a report that was taken from one of unknown fate", () => {
    const reports = [unknown(5n, before), report(7n, after)];
    expect(decide(view(5n, reports, { boundariesMs }), APPLY)).toMatchObject({
      kind: "repair",
      remedy: { timestampMs: START_MS + 30_000, difference: -7n },
      accept: [reports[0]?.identifier],
    });
  });

  test("what several reports would explain, on both sides, is left for a person", () => {
    const open = { kind: "open", hindrance: "boundary" };
    const equal = [report(5n, before), report(5n, after), report(9n, after)];
    expect(decide(view(14n, equal, { boundariesMs }), APPLY)).toMatchObject(open);
    expect(decide(view(24n, equal, { boundariesMs }), APPLY)).toMatchObject(open);
    const combined = [report(2n, before), report(3n, before), report(5n, after)];
    expect(decide(view(5n, combined, { boundariesMs }), APPLY)).toMatchObject(open);
    const doubtful = [unknown(5n, before), unknown(5n, after)];
    expect(decide(view(5n, doubtful, { boundariesMs }), APPLY)).toMatchObject(open);
  });

  test("what can only be of one is repaired there", () => {
    expect(decide(view(0n, [report(7n, after)], { boundariesMs }), APPLY)).toMatchObject({
      kind: "repair",
      remedy: { timestampMs: START_MS + 30_000, windowStartMs: START_MS + 30_000 },
    });
    const doubtful = [report(5n, before), unknown(7n, after)];
    expect(decide(view(5n, doubtful, { boundariesMs }), APPLY)).toMatchObject({
      kind: "repair",
      remedy: { timestampMs: START_MS + 30_000, difference: -7n },
    });
  });
});

test("booking and repair cancel out, and share the window's sequences with whatever else is reported of it", () => {
  const verdict = decide(view(0n, [report(5n)]), APPLY);
  if (verdict.kind !== "repair") return expect.fail(verdict.kind);
  const { booking, repair } = freezeRemedy("test", view(0n, []), verdict.remedy, 7);
  expect([booking.value, repair.value]).toEqual([-5n, 5n]);
  expect([booking.sequence, repair.sequence]).toEqual([7, 8]);
  const window = { customerId: "acme", eventName: "tokens", payload: "{}", windowStartMs: START_MS };
  expect(booking.identifier).toBe(identifierOf("test", window, 7));
  expect(repair.identifier).toBe(identifierOf("test", window, 8));
});

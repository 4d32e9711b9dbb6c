import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  giveBack,
  identifierOf,
  MESSAGE_MAX,
  maySend,
  type PendingWindow,
  type PlanContext,
  planReports,
  RESEND_HORIZON_MS,
  type SinkOutcome,
  settle,
} from "../../../src/domain/report.ts";
import { seeded } from "../../support/seed.ts";

/** No invoice known, no subscription known. */
const OPEN = { periodClosed: false, periodOpen: true, finalizesAtMs: undefined, held: undefined, elsewhere: [] };
/** A time at which no window is old. */
const CONTEXT: PlanContext = { deploymentId: "deployment", lateUsage: "current_period", nowMs: 0 };

const INT64_MAX = 2n ** 63n - 1n;
const amount = fc.oneof(fc.bigInt({ min: -INT64_MAX, max: INT64_MAX }), fc.bigInt({ min: -5n, max: 5n }));
const second = fc.integer({ min: 0, max: 4_000_000_000 });

const identity = fc.record({
  deploymentId: fc.string(),
  customerId: fc.string({ minLength: 1, maxLength: 255 }),
  eventName: fc.string({ minLength: 1, maxLength: 100 }),
  payload: fc.oneof(
    fc.constant("{}"),
    fc.dictionary(fc.string(), fc.string()).map((entries) => JSON.stringify(entries)),
  ),
  second,
  sequence: fc.nat(),
});

const pendingWindow: fc.Arbitrary<PendingWindow> = fc
  .record({ identity, total: amount, reported: amount, stripeCustomerId: fc.string({ minLength: 1 }) })
  .map(({ identity: { customerId, eventName, payload, second, sequence }, ...rest }) => ({
    ...rest,
    customerId,
    eventName,
    payload,
    windowStartMs: second * 1000,
    windowEndMs: second * 1000 + 60_000,
    nextSequence: sequence,
    ...OPEN,
  }));

describe("planReports", () => {
  test("reports of a window add up to what was not reported, in values that Stripe takes", () => {
    fc.assert(
      fc.property(pendingWindow, (window) => {
        const reports = planReports([window], CONTEXT);
        expect(reports.reduce((sum, r) => sum + r.value, 0n)).toBe(window.total - window.reported);
        // Plain conditions: a difference of 64 bits makes 9,000 reports.
        const wrong = reports.filter(
          (report, i) =>
            !/^-?[1-9][0-9]{0,14}$/.test(report.value.toString()) ||
            report.sequence !== window.nextSequence + i ||
            report.timestampMs !== window.windowStartMs ||
            report.stripeCustomerId !== window.stripeCustomerId,
        );
        expect(wrong).toEqual([]);
        expect(new Set(reports.map((r) => r.identifier)).size).toBe(reports.length);
      }),
      seeded(60),
    );
  });

  test("plans again what grew meanwhile, under identifiers of its own", () => {
    fc.assert(
      fc.property(pendingWindow, fc.array(amount, { maxLength: 4 }), (window, growths) => {
        const sent: bigint[] = [];
        const identifiers: string[] = [];
        let state = window;
        for (const growth of [0n, ...growths]) {
          state = { ...state, total: state.total + growth };
          const reports = planReports([state], CONTEXT);
          sent.push(...reports.map((r) => r.value));
          identifiers.push(...reports.map((r) => r.identifier));
          state = { ...state, reported: state.total, nextSequence: state.nextSequence + reports.length };
        }
        expect(sent.reduce((a, b) => a + b, 0n)).toBe(state.total - window.reported);
        expect(new Set(identifiers).size).toBe(identifiers.length);
      }),
      seeded(30),
    );
  });

  test.each([
    [999_999_999_999_999n, [999_999_999_999_999n]],
    [1_000_000_000_000_000n, [999_999_999_999_999n, 1n]],
    [-1_000_000_000_000_001n, [-999_999_999_999_999n, -2n]],
    [0n, []],
  ])("a difference of %s is split at 15 digits", (total, values) => {
    const window = {
      customerId: "c",
      stripeCustomerId: "cus_1",
      eventName: "e",
      payload: "{}",
      windowStartMs: 0,
      windowEndMs: 60_000,
    };
    const reports = planReports([{ ...window, total, reported: 0n, nextSequence: 7, ...OPEN }], CONTEXT);
    expect(reports.map((r) => r.value)).toEqual(values);
  });
});

describe("identifierOf", () => {
  type Identity = {
    deploymentId: string;
    customerId: string;
    eventName: string;
    payload: string;
    second: number;
    sequence: number;
  };
  const of = ({ deploymentId, second, sequence, ...window }: Identity) =>
    identifierOf(deploymentId, { ...window, windowStartMs: second * 1000 }, sequence);

  test("differs where any input differs, and is the same where none does", () => {
    fc.assert(
      fc.property(identity, identity, (a, b) => {
        const equal = JSON.stringify(a) === JSON.stringify(b);
        expect(of(a) === of(b)).toBe(equal);
        for (const key of Object.keys(a)) {
          const mixed = { ...a, [key]: b[key as keyof typeof b] };
          expect(of(a) === of(mixed)).toBe(JSON.stringify(a) === JSON.stringify(mixed));
        }
      }),
      seeded(200),
    );
  });

  test("keeps the parts apart", () => {
    const plain = { deploymentId: "d", customerId: "a", eventName: "b", payload: "{}", second: 1, sequence: 12 };
    expect(of({ ...plain, customerId: "ab", eventName: "c" })).not.toBe(of({ ...plain, eventName: "bc" }));
    expect(of({ ...plain, customerId: 'a","b', eventName: "c" })).not.toBe(of({ ...plain, eventName: 'b","c' }));
    expect(of(plain)).not.toBe(of({ ...plain, second: 11, sequence: 2 }));
  });

  test("is printable ASCII of at most 80 characters", () => {
    fc.assert(
      fc.property(identity, (i) => /^[ -~]{1,80}$/.test(of(i))),
      seeded(200),
    );
  });

  test("is pinned: a later version must not send what an earlier one froze under another name", () => {
    const window = { customerId: "cus_1", eventName: "input_tokens", payload: "{}", windowStartMs: 1_700_000_000_000 };
    expect(identifierOf("4d7c", window, 3)).toBe("u-1700000000-3-b5182e9720f76f73b4e055f5428e69eac412689a");
  });

  test("refuses a window that starts within a second", () => {
    const window = { customerId: "c", eventName: "e", payload: "{}", windowStartMs: 1_500 };
    expect(() => identifierOf("d", window, 0)).toThrow(RangeError);
  });
});

describe("settle", () => {
  const refused: SinkOutcome = { kind: "refused", code: "no_such_customer", message: "No such customer" };
  const throttled: SinkOutcome = { kind: "throttled", message: "slower" };
  const unknown: SinkOutcome = { kind: "unknown", message: "timeout" };
  const conflict: SinkOutcome = { kind: "conflict", message: "other parameters" };

  test.each([
    [{ kind: "accepted" }, "planned", "accepted", "", false],
    [{ kind: "accepted" }, "unknown", "accepted", "", false],
    [{ kind: "taken" }, "planned", "sent", "", false],
    [{ kind: "taken" }, "unknown", "sent", "", false],
    [{ kind: "duplicate" }, "planned", "accepted", "", false],
    [{ kind: "duplicate" }, "unknown", "accepted", "", false],
    [refused, "planned", "held", "no_such_customer", true],
    // An earlier send may have been processed all the same.
    [refused, "unknown", "held", "no_such_customer", false],
    [conflict, "planned", "held", "identifier_conflict", false],
    [conflict, "unknown", "held", "identifier_conflict", false],
    [throttled, "planned", "planned", "throttled", true],
    [throttled, "unknown", "unknown", "throttled", false],
    [unknown, "planned", "unknown", "unknown", false],
    [unknown, "unknown", "unknown", "unknown", false],
  ] as const)("%o of a report that was %s: %s", (outcome, before, state, reason, untouched) => {
    expect(settle(outcome, before, 1)).toMatchObject({ state, reason, untouched, attempts: 1 });
  });

  test("waits longer with every attempt, five minutes at most", () => {
    const waits = [1, 2, 3, 9, 10, 1_000].map((attempts) => settle(unknown, "unknown", attempts).retryAfterMs);
    expect(waits).toEqual([1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
  });

  test("keeps messages short", () => {
    const { message } = settle({ kind: "unknown", message: "x".repeat(10_000) }, "planned", 1);
    expect(message).toHaveLength(MESSAGE_MAX);
  });

  test("what was given back may be sent at once, and the send is not counted", () => {
    expect(giveBack("planned", 3)).toMatchObject({ state: "planned", attempts: 2, retryAfterMs: 0, untouched: true });
    expect(giveBack("unknown", 3)).toMatchObject({ state: "unknown", attempts: 2, retryAfterMs: 0, untouched: false });
  });
});

test("a report may be sent while its first attempt is under 23 h old, or where none can have been processed", () => {
  expect(maySend(undefined, 1e15)).toBe(true);
  expect(maySend(1_000, 1_000 + RESEND_HORIZON_MS - 1)).toBe(true);
  expect(maySend(1_000, 1_000 + RESEND_HORIZON_MS)).toBe(false);
});

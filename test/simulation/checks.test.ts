// The judge of the simulated quarter: what it lets pass, and that it sees each thing that can be wrong.
import { describe, expect, test } from "vitest";
import { type Evidence, judge } from "../../simulation/checks.ts";
import type { LedgerReading, ReportRow, WindowRow } from "../../simulation/ledger-reading.ts";
import { Oracle } from "../../simulation/oracle.ts";
import type { BillingPeriod, StripeReading } from "../../simulation/stripe-reading.ts";

const MINUTE_MS = 60_000;
/** A period of ten minutes that was billed, and the next one, which is open. */
const BOUNDARY_MS = 10 * MINUTE_MS;
const CUSTOMER = { index: 0, customerId: "acme", stripeCustomerId: "cus_1", mapped: true };
const LANE = "cus_1 llm_input";
const AT_MS = 2 * MINUTE_MS;

const window = (fields: Partial<WindowRow> = {}): WindowRow => ({
  customerId: "acme",
  eventName: "llm_input",
  startMs: AT_MS,
  endMs: AT_MS + MINUTE_MS,
  total: 7n,
  reported: 7n,
  accepted: 7n,
  ...fields,
});

const report = (fields: Partial<ReportRow> = {}): ReportRow => ({
  identifier: "u-1",
  kind: "usage",
  state: "accepted",
  reason: "",
  customerId: "acme",
  stripeCustomerId: "cus_1",
  eventName: "llm_input",
  windowStartMs: AT_MS,
  timestampMs: AT_MS,
  value: 7n,
  late: false,
  attempts: 1,
  plannedMs: AT_MS,
  ...fields,
});

const event = (fields: Partial<StripeReading["events"][number]> = {}): StripeReading["events"][number] => ({
  identifier: "u-1",
  event_name: "llm_input",
  customer: "cus_1",
  value: "7",
  timestamp: AT_MS / 1_000,
  received_ms: AT_MS,
  fate: "counted",
  inlet: "v1",
  times_accepted: 1,
  payload: {},
  ...fields,
});

const period = (startMs: number, billed: bigint | undefined): BillingPeriod => ({
  stripeCustomerId: "cus_1",
  eventName: "llm_input",
  invoiceId: billed === undefined ? "" : "in_1",
  startMs,
  endMs: startMs + BOUNDARY_MS,
  billed,
});

interface Fields {
  ledger?: Partial<LedgerReading>;
  events?: StripeReading["events"];
  billed?: bigint;
  /** Of records whose event time is AT_MS. */
  used?: readonly bigint[];
}

/** Seven tokens used, reported, counted and billed, but for what is given. */
function evidence({ ledger = {}, events = [event()], billed = 7n, used = [7n] }: Fields = {}): Evidence {
  const oracle = new Oracle();
  for (const [i, input] of used.entries()) {
    const record = {
      customer: 0,
      key: `k-${i}`,
      eventTimeMs: AT_MS,
      arrivesMs: AT_MS,
      model: "small-1",
      input,
      output: 0n,
    };
    oracle.recorded(record, AT_MS);
  }
  const periods = new Map([[LANE, [period(0, billed), period(BOUNDARY_MS, undefined)]]]);
  return {
    customers: [CUSTOMER],
    oracle,
    ledger: { windows: [window()], reports: [report()], drifts: [], excesses: new Map(), unfinished: {}, ...ledger },
    stripe: { periods, events },
  };
}

const messages = (fields?: Fields) => judge(evidence(fields)).violations.map(({ message }) => message);

describe("the judge lets pass", () => {
  test("what was used, reported, counted and billed", () => {
    expect(messages()).toEqual([]);
    expect(judge(evidence()).fates.llm_input).toMatchObject({ recorded: 7n, billed: 7n, open: 0n, late: 0n });
  });

  test("late usage that is listed, and on no invoice yet", () => {
    const late = report({ timestampMs: BOUNDARY_MS + MINUTE_MS, late: true });
    const events = [event({ timestamp: late.timestampMs / 1_000 })];
    const fields = { ledger: { reports: [late] }, events, billed: 0n };
    expect(messages(fields)).toEqual([]);
    expect(judge(evidence(fields)).fates.llm_input).toMatchObject({ recorded: 7n, billed: 0n, open: 7n, late: 7n });
  });

  test("what an invoice bills too much, where the service lists just that", () => {
    const takenBack = [report(), report({ identifier: "u-2", value: -2n })];
    const events = [event(), event({ identifier: "u-2", value: "-2" })];
    const windows = [window({ total: 5n, reported: 5n })];
    const ledger = { windows, reports: takenBack, excesses: new Map([["in_1 llm_input 0", 2n]]) };
    expect(messages({ ledger, events, used: [5n], billed: 7n })).toEqual([]);
    expect(messages({ ledger, events, used: [5n], billed: 8n }).join()).toContain("bills 8, but 5 is believed");
  });

  test("what is held, and what waits", () => {
    const held = { ledger: { reports: [report({ state: "held", reason: "archived_meter" })] }, events: [], billed: 0n };
    expect(messages(held)).toEqual([]);
    const waiting = { ledger: { windows: [window({ reported: 0n })], reports: [] }, events: [], billed: 0n };
    expect(messages(waiting)).toEqual([]);
  });
});

describe("of a drift that is left to a person in a minute that two periods share, the judge", () => {
  const drift = {
    stripeCustomerId: "cus_1",
    eventName: "llm_input",
    startMs: 9 * MINUTE_MS,
    endMs: 10 * MINUTE_MS,
    expected: "7",
    counted: "4",
    foundMs: AT_MS,
  };
  const fields = (what: string, counted: string): Fields => ({
    ledger: { drifts: [{ ...drift, what }] },
    events: [event({ value: counted })],
    billed: BigInt(counted),
  });

  test("takes what is lacking as listed, on whichever side it is", () => {
    const parts = [report({ value: 4n }), report({ value: 3n, identifier: "u-2" })];
    const windows = [window()];
    const ledger = { windows, reports: parts, drifts: [{ ...drift, what: "never_sent open boundary" }] };
    expect(messages({ ledger, events: [event({ value: "4" })], billed: 4n })).toEqual([]);
  });

  test("takes what is lacking on both sides, where it is what was never answered there", () => {
    const unanswered = { state: "held", reason: "outcome_unknown" };
    const parts = [
      report({ value: 4n }),
      report({ value: 2n, identifier: "u-2", timestampMs: 9 * MINUTE_MS, ...unanswered }),
      report({ value: 1n, identifier: "u-3", timestampMs: BOUNDARY_MS, late: true, ...unanswered }),
    ];
    const shared = { ...drift, endMs: 11 * MINUTE_MS, what: "unknown open boundary" };
    const told = (value: string) => {
      const ledger = { windows: [window()], reports: parts, drifts: [shared] };
      return messages({ ledger, events: [event({ value })], billed: BigInt(value) });
    };
    expect(told("4")).toEqual([]);
    expect(told("2").join()).toContain("bills 2, but 6 is believed");
  });

  test("sees that nothing is lacking after all", () => {
    const ledger = { drifts: [{ ...drift, what: "never_sent open boundary" }] };
    expect(messages({ ledger }).join()).toContain("recorded 7, accounted for 10");
  });

  test("does not excuse any other difference, nor any other drift", () => {
    expect(messages(fields("never_sent open boundary", "5")).join()).toContain("bills 5, but 7 is believed");
    expect(messages(fields("never_sent open limit", "4")).join()).toContain("the drift of 1970-01-01T00:09:00 is left");
  });
});

describe("the judge sees", () => {
  const cases: Record<string, [Fields, string]> = {
    "a record that the ledger lost": [{ used: [7n, 1n] }, "the ledger holds 7, but 8 was acknowledged"],
    "usage that Stripe counted and that is on no invoice": [{ billed: 6n }, "bills 6, but 7 is believed to be billed"],
    "usage that is billed and was never used": [
      {
        ledger: { windows: [window({ total: 9n, reported: 9n })], reports: [report({ value: 9n })] },
        events: [event({ value: "9" })],
        billed: 9n,
      },
      "bills 9, not 7: used 7",
    ],
    "an identifier that counts twice": [{ events: [event({ times_accepted: 2 })] }, "Stripe counted u-1 2 times"],
    "an event that nobody planned": [
      { events: [event({ identifier: "x" })] },
      "Stripe counted x, which was never planned",
    ],
    "an event with another value than its report's": [{ events: [event({ value: "8" })] }, "unlike its report"],
    "an accepted report that Stripe did not count": [
      { events: [] },
      "Stripe counted 0 from 1970-01-01T00:00:00, but 7 is believed",
    ],
    "an event that Stripe counted though it is held": [
      { ledger: { reports: [report({ state: "held" })] }, billed: 0n },
      "Stripe counted 7 from 1970-01-01T00:00:00, but 0 is believed",
    ],
    "a window that spans a boundary": [
      { ledger: { windows: [window({ endMs: BOUNDARY_MS + 1_000 })] } },
      "spans the boundary 1970-01-01T00:10:00",
    ],
    "a report that has not come to its end": [
      { ledger: { unfinished: { "open reports": 1 } } },
      "1 open reports are left",
    ],
    "a report of which nobody found out whether it was counted": [
      { ledger: { reports: [report({ state: "held", reason: "outcome_unknown" })] }, billed: 0n },
      "nobody found out",
    ],
    "a report whose identifier Stripe knows for something else": [
      { ledger: { reports: [report({ state: "held", reason: "identifier_conflict" })] }, events: [], billed: 0n },
      "u-1 was sent with other content before",
    ],
    "a report that was superseded by nothing": [
      { ledger: { reports: [report({ state: "superseded" })] }, billed: 0n },
      "recorded 7, accounted for 0",
    ],
  };
  test.each(Object.entries(cases))("%s", (_, [fields, expected]) => {
    expect(messages(fields).join("\n")).toContain(expected);
  });
});

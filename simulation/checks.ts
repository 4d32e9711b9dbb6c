// What must hold in the end. Each violation says what is wrong, and for whom.
import { HELD_CONFLICT, HELD_OUTCOME_UNKNOWN } from "../src/domain/report.ts";
import { EVENT_NAMES, type EventName } from "./catalog.ts";
import type { DriftRow, LedgerReading, ReportRow, WindowRow } from "./ledger-reading.ts";
import { asBelieved, differenceOf, differencesIn, doubtfulIn, isForInvoices, isInvoiced } from "./open-drifts.ts";
import { isWithin, type Oracle, type Span } from "./oracle.ts";
import type { BillingPeriod, StripeReading } from "./stripe-reading.ts";

/** A customer as the service and Stripe know it. */
export interface KnownCustomer {
  readonly index: number;
  readonly customerId: string;
  readonly stripeCustomerId: string;
  /** Whether the service was ever told that these are the same. */
  readonly mapped: boolean;
}

export interface Evidence {
  readonly customers: readonly KnownCustomer[];
  readonly oracle: Oracle;
  readonly ledger: LedgerReading;
  readonly stripe: StripeReading;
}

/** Where what was recorded ended. */
export interface Fates {
  recorded: bigint;
  /** On final invoices. */
  billed: bigint;
  /** In periods that are still open. */
  open: bigint;
  /** Counted by Stripe at a time that no subscription covers. */
  outsideOfPeriods: bigint;
  held: bigint;
  /** Not planned yet: customers that no Stripe customer is known for. */
  waiting: bigint;
  /** Not counted by Stripe, in a minute that two periods share, of which one is not billed yet, or is none: listed as a drift. */
  lacking: bigint;
  /** On final invoices beyond what is due, since what takes it back came too late: listed, for a person to make good. Part of billed. */
  excess: bigint;
  /** Of the above: landed in a later period than it was used in. */
  late: bigint;
}

export interface Violation {
  readonly message: string;
  readonly customer: KnownCustomer | undefined;
  readonly eventName: EventName | undefined;
}

export interface Verdict {
  readonly violations: readonly Violation[];
  readonly fates: Readonly<Record<EventName, Fates>>;
}

export function judge(evidence: Evidence): Verdict {
  const violations: Violation[] = [];
  const say = (message: string) => violations.push({ message, customer: undefined, eventName: undefined });
  for (const [what, count] of Object.entries(evidence.ledger.unfinished))
    if (count > 0) say(`${count} ${what} are left`);
  for (const message of identifierProblems(evidence)) say(message);
  const fates = Object.fromEntries(EVENT_NAMES.map((name) => [name, noFates()])) as Record<EventName, Fates>;
  const windows = Map.groupBy(evidence.ledger.windows, (row) => `${row.customerId} ${row.eventName}`);
  const reports = Map.groupBy(evidence.ledger.reports, (row) => `${row.customerId} ${row.eventName}`);
  const counted = evidence.stripe.events.filter(({ fate }) => fate === "counted");
  const events = Map.groupBy(counted, (event) => `${event.customer} ${event.event_name}`);
  for (const customer of evidence.customers) {
    for (const eventName of EVENT_NAMES) {
      const drifts = evidence.ledger.drifts.filter(
        (row) => row.stripeCustomerId === customer.stripeCustomerId && row.eventName === eventName,
      );
      const planned = reports.get(`${customer.customerId} ${eventName}`) ?? [];
      const doubtful = doubtfulIn(planned, drifts);
      const lane: Lane = {
        customer,
        eventName,
        oracle: evidence.oracle,
        windows: windows.get(`${customer.customerId} ${eventName}`) ?? [],
        drifts,
        excesses: evidence.ledger.excesses,
        counted: events.get(`${customer.stripeCustomerId} ${eventName}`) ?? [],
        reports: asBelieved(planned, doubtful),
        doubtful,
        periods: customer.mapped
          ? (evidence.stripe.periods.get(`${customer.stripeCustomerId} ${eventName}`) ?? [])
          : [],
      };
      for (const message of [
        ...ledgerProblems(lane),
        ...countProblems(lane),
        ...periodProblems(lane),
        ...fateProblems(lane, fates[eventName]),
      ]) {
        violations.push({ message, customer, eventName });
      }
    }
  }
  return { violations, fates };
}

/** One customer's one Stripe meter. Of one that was never mapped, nothing at Stripe concerns us. */
interface Lane {
  readonly customer: KnownCustomer;
  readonly eventName: EventName;
  readonly oracle: Oracle;
  readonly windows: readonly WindowRow[];
  readonly reports: readonly ReportRow[];
  /** Of the reports, those that a drift that is left open may be about. */
  readonly doubtful: readonly ReportRow[];
  readonly drifts: readonly DriftRow[];
  readonly excesses: LedgerReading["excesses"];
  readonly counted: StripeReading["events"];
  readonly periods: readonly BillingPeriod[];
}

/** No identifier counts twice, or for another value than its report's, and nothing counts that was not reported. */
function identifierProblems({ ledger, stripe }: Evidence): string[] {
  const reports = new Map(ledger.reports.map((report) => [report.identifier, report]));
  const seen = new Set<string>();
  return stripe.events.flatMap((event) => {
    const report = reports.get(event.identifier);
    if (report === undefined) return [`Stripe counted ${event.identifier}, which was never planned`];
    const problems: string[] = [];
    const isFirst = !seen.has(event.identifier);
    seen.add(event.identifier);
    if (event.times_accepted > 1 && isFirst)
      problems.push(`Stripe counted ${event.identifier} ${event.times_accepted} times`);
    if (BigInt(event.value) !== report.value || event.timestamp * 1_000 !== report.timestampMs) {
      problems.push(`Stripe has ${event.identifier} as ${event.value} at ${event.timestamp}, unlike its report`);
    }
    return problems;
  });
}

/** The ledger holds what was acknowledged, and no window spans a boundary. */
function ledgerProblems({ customer, eventName, oracle, windows, reports, drifts, periods }: Lane): string[] {
  const open = drifts.filter((drift) => drift.what.includes(" open") && !isForInvoices(drift));
  const problems = open.map(({ startMs, what }) => `the drift of ${at(startMs)} is left: ${what}`);
  const doubtful = reports.filter(({ state, reason }) => state === "held" && reason === HELD_OUTCOME_UNKNOWN);
  problems.push(
    ...doubtful.map(({ identifier }) => `${identifier} is held, and nobody found out whether it was counted`),
  );
  const conflicts = reports.filter(({ reason }) => reason === HELD_CONFLICT);
  problems.push(...conflicts.map(({ identifier }) => `${identifier} was sent with other content before`));
  const expected = oracle.total(customer.index)[eventName];
  const total = sum(windows, (row) => row.total);
  if (total !== expected) problems.push(`the ledger holds ${total}, but ${expected} was acknowledged`);
  const edges = new Set(periods.flatMap(({ startMs, endMs }) => [startMs, endMs]));
  for (const { startMs, endMs } of windows) {
    for (const edge of edges) {
      if (startMs < edge && edge < endMs) problems.push(`the window of ${at(startMs)} spans the boundary ${at(edge)}`);
    }
  }
  return problems;
}

const ALWAYS: Span = { startMs: Number.NEGATIVE_INFINITY, endMs: Number.POSITIVE_INFINITY };

/** Stripe counted what is believed that it counted, in each period and outside of all, but in minutes that were left to invoices. */
function countProblems({ reports, doubtful, counted, drifts, periods }: Lane): string[] {
  const invoiced = drifts.filter(isInvoiced);
  const isAside = (timeMs: number) => invoiced.some((span) => isWithin(timeMs, span));
  const believed = reports.filter((row) => isBelieved(row) && row.kind !== "unbilled" && !isAside(row.timestampMs));
  const isOutside = (timeMs: number) => !periods.some((period) => isWithin(timeMs, period));
  const spans = periods.map((period) => {
    const isIn = (timeMs: number) => isWithin(timeMs, period);
    return { name: `from ${at(period.startMs)}`, isIn, differences: differencesIn(drifts, period, doubtful) };
  });
  const outside = { name: "outside of periods", isIn: isOutside, differences: differencesIn(drifts, ALWAYS, []) };
  return [...spans, outside].flatMap(({ name, isIn, differences }) => {
    const expected = sum(
      believed.filter((row) => isIn(row.timestampMs)),
      (row) => row.value,
    );
    const found = sum(
      counted.filter((event) => isIn(event.timestamp * 1_000) && !isAside(event.timestamp * 1_000)),
      (event) => BigInt(event.value),
    );
    return differences.includes(found - expected)
      ? []
      : [`Stripe counted ${found} ${name}, but ${expected} is believed`];
  });
}

/** Each final invoice bills what is believed of its period, and that is what was used in it, but for what is listed as elsewhere. */
function periodProblems(lane: Lane): string[] {
  const { customer, eventName, oracle, windows, reports, doubtful, drifts, periods } = lane;
  return periods.flatMap((period) => {
    if (period.billed === undefined) return [];
    const problems: string[] = [];
    const name = `${period.invoiceId} (${at(period.startMs)} to ${at(period.endMs)})`;
    const isIn = (timeMs: number) => isWithin(timeMs, period);
    const { billed } = period;
    const bills = (quantity: bigint) =>
      differencesIn(drifts, period, doubtful).some(
        (difference) => billed === atLeastZero(quantity + difference) + excessOf(lane, period),
      );
    const believed = sum(
      reports.filter((row) => isBelieved(row) && isIn(row.timestampMs)),
      (row) => row.value,
    );
    if (!bills(believed)) {
      problems.push(`${name} bills ${billed}, but ${believed} is believed to be billed`);
    }
    const used = oracle.sum(customer.index, eventName, period);
    const waiting = sum(
      windows.filter((row) => isIn(row.startMs)),
      (row) => row.total - row.reported,
    );
    const held = sum(
      reports.filter((row) => row.state === "held" && isIn(row.windowStartMs)),
      (row) => row.value,
    );
    const believing = reports.filter(isBelieved);
    const left = sum(
      believing.filter((row) => isIn(row.windowStartMs) && !isIn(row.timestampMs)),
      (row) => row.value,
    );
    const came = sum(
      believing.filter((row) => !isIn(row.windowStartMs) && isIn(row.timestampMs)),
      (row) => row.value,
    );
    const expected = used - waiting - held - left + came;
    if (!bills(expected)) {
      problems.push(
        `${name} bills ${billed}, not ${expected}: used ${used}, waiting ${waiting}, held ${held}, ` +
          `billed elsewhere ${left}, from elsewhere ${came}`,
      );
    }
    return problems;
  });
}

/** Everything recorded is in one place. What is in no final invoice is taken as Stripe counted it. */
function fateProblems(lane: Lane, fates: Fates): string[] {
  const { customer, eventName, oracle, windows, reports, counted, drifts, periods } = lane;
  const periodOf = (timeMs: number) => periods.find((period) => isWithin(timeMs, period));
  const landing = (choose: (period: BillingPeriod | undefined) => boolean) =>
    sum(
      counted.filter((event) => choose(periodOf(event.timestamp * 1_000))),
      (event) => BigInt(event.value),
    );
  const recorded = oracle.total(customer.index)[eventName];
  const billed = sum(periods, (period) => period.billed ?? 0n);
  const open = landing((period) => period !== undefined && period.billed === undefined);
  const outsideOfPeriods = landing((period) => period === undefined);
  const held = sum(
    reports.filter((row) => row.state === "held"),
    (row) => row.value,
  );
  const waiting = sum(windows, (row) => row.total - row.reported);
  const isUnbillable = (timeMs: number) =>
    periodOf(timeMs) === undefined && drifts.some((drift) => isInvoiced(drift) && isWithin(timeMs, drift));
  const lacking =
    sum(
      reports.filter((row) => isBelieved(row) && row.kind !== "unbilled" && isUnbillable(row.timestampMs)),
      (row) => row.value,
    ) -
    sum(
      counted.filter((event) => isUnbillable(event.timestamp * 1_000)),
      (event) => BigInt(event.value),
    ) -
    sum(drifts.filter(isForInvoices), differenceOf);
  const excess = sum(periods, (period) => excessOf(lane, period));
  const late = sum(
    reports.filter(
      (row) => isBelieved(row) && row.kind !== "unbilled" && periodOf(row.timestampMs) !== periodOf(row.windowStartMs),
    ),
    (row) => row.value,
  );
  const mine: Fates = { recorded, billed, open, outsideOfPeriods, held, waiting, lacking, excess, late };
  for (const key of Object.keys(mine) as (keyof Fates)[]) fates[key] += mine[key];
  const accounted = billed + open + outsideOfPeriods + held + waiting + lacking - excess;
  if (accounted === recorded) return [];
  return [
    `recorded ${recorded}, accounted for ${accounted}: billed ${billed}, open ${open}, outside of periods ${outsideOfPeriods}, ` +
      `held ${held}, waiting ${waiting}, lacking ${lacking}, in excess ${excess}`,
  ];
}

function noFates(): Fates {
  return {
    recorded: 0n,
    billed: 0n,
    open: 0n,
    outsideOfPeriods: 0n,
    held: 0n,
    waiting: 0n,
    lacking: 0n,
    excess: 0n,
    late: 0n,
  };
}

/** Believed to be on the invoice of its time: sent ones that Stripe has, and bookings. */
function isBelieved({ state }: ReportRow): boolean {
  return state === "accepted" || state === "sent";
}

/** What the service lists as billed too much. */
function excessOf({ eventName, excesses }: Lane, { invoiceId, startMs }: BillingPeriod): bigint {
  return excesses.get(`${invoiceId} ${eventName} ${startMs}`) ?? 0n;
}

function atLeastZero(value: bigint): bigint {
  return value > 0n ? value : 0n;
}

function sum<T>(rows: readonly T[], value: (row: T) => bigint): bigint {
  return rows.reduce((total, row) => total + value(row), 0n);
}

function at(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 19);
}

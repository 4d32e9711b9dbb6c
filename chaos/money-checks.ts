// Reads reports and what Stripe counted, in the end: ledger = Stripe + held + pending, to the token.
import type { Oracle } from "../simulation/core/oracle.ts";
import type { Pool } from "../src/postgres/pool.ts";

const HOUR_MS = 3_600_000;

export interface MoneyFindings {
  readonly reports: number;
  readonly events: number;
  /** By customer and Stripe meter: how often ledger and Stripe were compared and found equal. */
  readonly metersCompared: number;
  readonly held: number;
  /** Repairs of drifts, after Stripe dropped or refused what it had taken. */
  readonly repairs: number;
  /** Drifts that are listed for a person: a minute that two periods share. */
  readonly driftsLeft: number;
  /** Taken by Stripe and then not counted, in an hour that is not over yet: it is compared, and made up for, when it is. */
  readonly notYetCompared: number;
  readonly invoices: number;
}

export interface ReportRow {
  readonly identifier: string;
  readonly kind: string;
  readonly state: string;
  readonly customer_id: string;
  readonly stripe_customer_id: string;
  readonly event_name: string;
  /** Compared with Stripe's sums; a part of an hour is, once a billing period that ends in it is over. */
  readonly compared: boolean;
  readonly value: bigint;
  readonly timeMs: number;
}

/** As the simulator's control interface tells it. */
export interface StripeEvent {
  readonly identifier: string;
  readonly event_name: string;
  readonly customer: string;
  readonly value: string;
  readonly timestamp: number;
  readonly fate: string;
  readonly times_accepted: number;
}

export interface MoneyCheckOptions {
  readonly pool: Pool;
  readonly oracle: Oracle;
  readonly events: readonly StripeEvent[];
  /** Exact sums, by Stripe's own word. */
  readonly totals: readonly { readonly customer: string; readonly event_name: string; readonly sum: string }[];
  /** Events that Stripe took and did not count, on purpose. */
  readonly thrownAway: number;
  /** Hours that were over then were compared. */
  readonly nowMs: number;
}

export async function checkMoney(options: MoneyCheckOptions): Promise<MoneyFindings> {
  const { pool, oracle, events } = options;
  const reports = await readReports(pool);
  const byIdentifier = new Map(reports.map((report) => [report.identifier, report]));
  checkEvents(oracle, events, byIdentifier);
  await checkDoubleEntry(pool, oracle, reports);
  const drifts = await openDrifts(pool);
  const { compared, notYetCompared } = checkStripe(options, reports, drifts);
  if (notYetCompared > options.thrownAway)
    oracle.fail(
      "stripe",
      `${notYetCompared} accepted reports are not counted, but Stripe threw away ${options.thrownAway} only`,
    );
  await checkLeaders(pool, oracle);
  return {
    reports: reports.length,
    events: events.length,
    metersCompared: compared,
    held: reports.filter(({ state }) => state === "held").length,
    repairs: reports.filter(({ kind }) => kind === "repair" || kind === "cancel").length,
    driftsLeft: drifts.length,
    notYetCompared,
    invoices: await checkInvoices(pool, oracle, reports),
  };
}

async function readReports(pool: Pool): Promise<readonly ReportRow[]> {
  const { rows } = await pool.query<Omit<ReportRow, "value" | "timeMs"> & { value: string; time_ms: string }>(
    `SELECT identifier, kind, state, customer_id, stripe_customer_id, event_name, reconciled_at IS NOT NULL AS compared, value, (extract(epoch FROM event_timestamp) * 1000)::bigint AS time_ms
     FROM report WHERE state <> 'superseded'`,
  );
  return rows.map(({ value, time_ms, ...row }) => ({ ...row, value: BigInt(value), timeMs: Number(time_ms) }));
}

/** No identifier is at Stripe with another value, customer, meter or time than was frozen, and none is counted twice. */
function checkEvents(oracle: Oracle, events: readonly StripeEvent[], reports: ReadonlyMap<string, ReportRow>): void {
  const seen = new Set<string>();
  for (const event of events) {
    const { identifier, times_accepted: times } = event;
    if (times > 1 || seen.has(identifier))
      oracle.fail("identifier", `${identifier} is counted more than once at Stripe`, identifier);
    seen.add(identifier);
    const report = reports.get(identifier);
    if (report === undefined) {
      oracle.fail("identifier", `${identifier} is at Stripe, and no report has it`, identifier);
      continue;
    }
    const sent = `${event.customer} ${event.event_name} ${BigInt(event.value)} ${event.timestamp * 1_000}`;
    const frozen = `${report.stripe_customer_id} ${report.event_name} ${report.value} ${report.timeMs}`;
    if (sent !== frozen)
      oracle.fail("identifier", `${identifier} is at Stripe as ${sent}, and frozen as ${frozen}`, identifier);
  }
}

/** What reports hold, bookings among them, and what is not planned yet is what was recorded. */
async function checkDoubleEntry(pool: Pool, oracle: Oracle, reports: readonly ReportRow[]): Promise<void> {
  const { rows } = await pool.query<{ name: string; sum: string }>(
    "SELECT concat_ws(' ', customer_id, event_name) AS name, sum(total - reported)::text AS sum FROM pending_window GROUP BY 1",
  );
  const booked = new Map(rows.map(({ name, sum }) => [name, BigInt(sum)]));
  for (const { customer_id: customerId, event_name: eventName, value } of reports) {
    const name = `${customerId} ${eventName}`;
    booked.set(name, (booked.get(name) ?? 0n) + value);
  }
  const recorded = oracle.billable();
  for (const name of new Set([...recorded.keys(), ...booked.keys()]))
    if ((recorded.get(name) ?? 0n) !== (booked.get(name) ?? 0n))
      oracle.fail(
        "double entry",
        `${name}: recorded ${recorded.get(name) ?? 0n}, in reports and pending ${booked.get(name) ?? 0n}`,
        name.split(" ")[0] ?? "",
      );
}

interface OpenDrift {
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly startMs: number;
  readonly endMs: number;
}

async function openDrifts(pool: Pool): Promise<readonly OpenDrift[]> {
  const { rows } = await pool.query<{
    stripe_customer_id: string;
    event_name: string;
    span_start: Date;
    span_end: Date;
  }>(
    "SELECT stripe_customer_id, event_name, span_start, span_end FROM drift WHERE state = 'open' AND hindrance = 'boundary'",
  );
  return rows.map((row) => ({
    stripeCustomerId: row.stripe_customer_id,
    eventName: row.event_name,
    startMs: row.span_start.getTime(),
    endMs: row.span_end.getTime(),
  }));
}

/** Kinds that are booked and never sent. */
const BOOKED = new Set(["drift", "unbilled"]);

/**
 * By customer, meter and hour: what Stripe counted is what the service believes that it counted. In an hour that is not over yet, what Stripe
 * took and threw away is not made up for; it is left aside, one by one. So is a span with a drift that is listed for a person.
 */
function checkStripe(
  { oracle, events, totals, nowMs }: MoneyCheckOptions,
  reports: readonly ReportRow[],
  drifts: readonly OpenDrift[],
) {
  const believed = new Map<string, bigint>();
  const counted = new Map<string, bigint>();
  const atStripe = new Set(events.filter(({ fate }) => fate === "counted").map(({ identifier }) => identifier));
  let notYetCompared = 0;
  const isLeft = (customer: string, eventName: string, ms: number) =>
    drifts.some((d) => d.stripeCustomerId === customer && d.eventName === eventName && d.startMs <= ms && ms < d.endMs);
  const nameOf = (customer: string, eventName: string, ms: number) =>
    `${customer} ${eventName} ${new Date(Math.floor(ms / HOUR_MS) * HOUR_MS).toISOString()}`;
  for (const {
    identifier,
    kind,
    state,
    stripe_customer_id: customer,
    event_name: eventName,
    value,
    timeMs,
    compared,
  } of reports) {
    if (kind === "unbilled" || (state !== "accepted" && state !== "sent") || isLeft(customer, eventName, timeMs))
      continue;
    const isOver = Math.floor(timeMs / HOUR_MS) * HOUR_MS + HOUR_MS <= nowMs;
    if (!isOver && !compared && !BOOKED.has(kind) && kind !== "cancel" && !atStripe.has(identifier)) {
      notYetCompared += 1;
      continue;
    }
    const name = nameOf(customer, eventName, timeMs);
    believed.set(name, (believed.get(name) ?? 0n) + value);
  }
  for (const { customer, event_name: eventName, value, timestamp, fate } of events) {
    if (fate !== "counted" || isLeft(customer, eventName, timestamp * 1_000)) continue;
    const name = nameOf(customer, eventName, timestamp * 1_000);
    counted.set(name, (counted.get(name) ?? 0n) + BigInt(value));
  }
  const names = new Set([...believed.keys(), ...counted.keys()]);
  for (const name of names)
    if ((believed.get(name) ?? 0n) !== (counted.get(name) ?? 0n))
      oracle.fail(
        "stripe",
        `${name}: believed ${believed.get(name) ?? 0n}, counted at Stripe ${counted.get(name) ?? 0n}`,
        name.split(" ")[0] ?? "",
      );
  for (const { customer, event_name: eventName, sum } of totals) {
    const listed = events
      .filter((e) => e.fate === "counted" && e.customer === customer && e.event_name === eventName)
      .reduce((a, e) => a + BigInt(e.value), 0n);
    if (listed !== BigInt(sum))
      oracle.fail(
        "stripe",
        `${customer} ${eventName}: Stripe's total is ${sum}, its events add up to ${listed}`,
        customer,
      );
  }
  return { compared: names.size, notYetCompared };
}

/** Each final invoice bills what counts in its period. */
async function checkInvoices(pool: Pool, oracle: Oracle, reports: readonly ReportRow[]): Promise<number> {
  const { rows } = await pool.query<{
    stripe_customer_id: string;
    event_name: string;
    period_start: Date;
    period_end: Date;
    billed: string;
    excess: string;
  }>(
    "SELECT stripe_customer_id, event_name, period_start, period_end, billed, excess FROM invoiced_period WHERE billed IS NOT NULL AND closed_at IS NOT NULL",
  );
  for (const row of rows) {
    const inside = reports.filter(
      (r) =>
        r.state === "accepted" &&
        r.stripe_customer_id === row.stripe_customer_id &&
        r.event_name === row.event_name &&
        row.period_start.getTime() <= r.timeMs &&
        r.timeMs < row.period_end.getTime(),
    );
    const sum = inside.reduce((a, { value }) => a + value, 0n);
    if (sum + BigInt(row.excess) !== BigInt(row.billed))
      oracle.fail(
        "invoice",
        `${row.stripe_customer_id} ${row.event_name}: the invoice up to ${row.period_end.toISOString()} bills ${row.billed}, ${sum} counts in its period`,
        row.stripe_customer_id,
      );
  }
  return rows.length;
}

/** Nothing was written under an epoch once a later one was given out. */
async function checkLeaders(pool: Pool, oracle: Oracle): Promise<void> {
  const { rows } = await pool.query<{ identifier: string; write_epoch: string; lease_epoch: string; at: Date }>(
    "SELECT identifier, write_epoch, lease_epoch, at FROM chaos_stale_write ORDER BY at LIMIT 10",
  );
  for (const { identifier, write_epoch: own, lease_epoch: last, at } of rows)
    oracle.fail(
      "one leader",
      `at ${at.toISOString()} ${identifier} was written under epoch ${own}, and ${last} was given out`,
      identifier,
    );
}

// The world, drawn from the seed: who the customers are, when they subscribe and leave, what they use and when the service hears of it.
import { MODELS } from "./catalog.ts";
import { Random } from "./random.ts";
import type { Size } from "./trace-rows.ts";

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** How long usage is recorded. */
export const QUARTER_MS = 92 * DAY_MS;

export interface WorldSize {
  readonly customers: number;
  readonly records: number;
}

/** What may happen in this world beyond usage that is in time. */
export interface Trouble {
  /** Records that come hours to weeks after the fact. */
  readonly lateRecords: boolean;
  /** Subscriptions made late, customers mapped late, cancellations. */
  readonly turbulence: boolean;
}

export interface Subscribing {
  readonly atMs: number;
  /** First second of the first period, where it is not the second of subscribing. */
  readonly backdatedToMs: number | undefined;
  /** First renewal. */
  readonly anchorMs: number;
}

export interface Leaving {
  readonly atMs: number;
  readonly how: "at_period_end" | "now_with_invoice" | "now";
}

export interface Mapping {
  /** Infinity: never. */
  readonly atMs: number;
  readonly by: "operator" | "metadata";
}

export interface WorldCustomer {
  readonly index: number;
  readonly subscribing: Subscribing;
  readonly leaving: Leaving | undefined;
  /** Paused and resumed within one period. */
  readonly pausing: { readonly atMs: number; readonly untilMs: number } | undefined;
  /** The service knows the customer by an id of its own. Undefined: by Stripe's id. */
  readonly mapping: Mapping | undefined;
}

export interface WorldRecord {
  readonly customer: number;
  readonly key: string;
  readonly eventTimeMs: number;
  readonly arrivesMs: number;
  readonly model: string;
  readonly input: bigint;
  readonly output: bigint;
}

export interface World {
  readonly startMs: number;
  readonly endMs: number;
  readonly customers: readonly WorldCustomer[];
  /** By arrival. Repeats among them have the key and content of an earlier one; `changed` ones its key alone. */
  readonly records: readonly WorldRecord[];
  /** Records that are taken back, some of them twice. */
  readonly voids: readonly { readonly record: WorldRecord; readonly atMs: number }[];
}

/** Odd seconds in the month, and no whole minute. */
const START_MS = Date.UTC(2027, 0, 4, 9, 13, 7);
/** The intake refuses event times older than 35 days; the network takes its share. */
const OLDEST_MS = 34 * DAY_MS;

export function drawWorld(
  seed: number,
  name: string,
  size: WorldSize,
  sizes: readonly Size[],
  trouble: Trouble,
): World {
  const random = new Random(seed, `world ${name}`);
  const customers = Array.from({ length: size.customers }, (_, index) => drawCustomer(random, index, trouble));
  const records = customers.flatMap((customer) => {
    const count = Math.ceil(size.records / size.customers);
    return drawRecords(random, customer, count, sizes, trouble);
  });
  records.sort((a, b) => a.arrivesMs - b.arrivesMs || (a.key < b.key ? -1 : 1));
  const voids = trouble.turbulence ? drawVoids(random, records) : [];
  return { startMs: START_MS, endMs: START_MS + QUARTER_MS, customers, records, voids };
}

function drawCustomer(random: Random, index: number, { turbulence }: Trouble): WorldCustomer {
  const kind = turbulence ? random.unit() : 1;
  const late = kind < 0.12;
  const atMs = START_MS + (late ? random.whole(5 * DAY_MS, 30 * DAY_MS) : random.whole(MINUTE_MS, 2 * HOUR_MS));
  const backdated = late ? random.chance(0.5) : random.chance(0.3);
  const backdatedToMs = backdated
    ? wholeSecond(atMs - random.whole(HOUR_MS, late ? 4 * DAY_MS : 3 * DAY_MS))
    : undefined;
  // Any second of the month, but some on the minute, the hour, and the midnight, where windows are cut as well.
  const anchor = wholeSecond(atMs + random.whole(2 * DAY_MS, 27 * DAY_MS));
  const grain = random.chance(0.1) ? random.pick([MINUTE_MS, HOUR_MS, DAY_MS]) : SECOND_MS;
  const subscribing = { atMs, backdatedToMs, anchorMs: Math.ceil(anchor / grain) * grain };
  const leaving =
    kind >= 0.12 && kind < 0.24
      ? {
          atMs: START_MS + random.whole(35 * DAY_MS, 80 * DAY_MS),
          how: random.pick(["at_period_end", "now_with_invoice", "now"] as const),
        }
      : undefined;
  const pausing = kind >= 0.24 && kind < 0.3 ? pausedWithin(random, subscribing) : undefined;
  const mapping = kind >= 0.3 && kind < 0.46 ? drawMapping(random, kind >= 0.44) : undefined;
  return { index, subscribing, leaving, pausing, mapping };
}

function drawMapping(random: Random, never: boolean): Mapping {
  const by = random.pick(["operator", "metadata"] as const);
  return { by, atMs: never ? Number.POSITIVE_INFINITY : START_MS + random.whole(HOUR_MS, 40 * DAY_MS) };
}

/** Well inside the first whole period, so that no renewal falls into it. */
function pausedWithin(random: Random, { anchorMs }: Subscribing): { atMs: number; untilMs: number } {
  const atMs = anchorMs + random.whole(2 * DAY_MS, 10 * DAY_MS);
  return { atMs, untilMs: atMs + random.whole(HOUR_MS, 10 * DAY_MS) };
}

function drawRecords(
  random: Random,
  customer: WorldCustomer,
  count: number,
  sizes: readonly Size[],
  trouble: Trouble,
): WorldRecord[] {
  const records: WorldRecord[] = [];
  const add = (eventTimeMs: number, delayMs: number) => {
    const { input, output } = random.pick(sizes);
    const record: WorldRecord = {
      customer: customer.index,
      key: `r-${customer.index}-${records.length}`,
      eventTimeMs,
      arrivesMs: eventTimeMs + delayMs,
      model: random.pick(MODELS),
      input,
      output,
    };
    records.push(record);
    if (random.chance(0.03)) records.push({ ...record, arrivesMs: record.arrivesMs + delayOf(random, trouble) });
    if (random.chance(0.01))
      records.push({ ...record, arrivesMs: record.arrivesMs + DAY_MS, input: record.input + 1n });
  };
  for (const boundaryMs of boundaries(customer)) {
    for (const byMs of [-2_000, -1_000, -1, 0, 1, 1_000]) {
      if (random.chance(0.6)) add(boundaryMs + byMs, delayOf(random, trouble));
    }
  }
  while (records.length < count) {
    // Bursts: what a customer does in one sitting.
    const atMs = START_MS + random.whole(0, QUARTER_MS);
    const burst = random.whole(1, Math.min(12, count - records.length));
    for (let i = 0; i < burst; i += 1) add(atMs + random.whole(0, 10 * MINUTE_MS), delayOf(random, trouble));
  }
  const isInQuarter = ({ eventTimeMs, arrivesMs }: WorldRecord) =>
    eventTimeMs >= START_MS && arrivesMs < START_MS + QUARTER_MS && arrivesMs - eventTimeMs < OLDEST_MS;
  return records.filter(isInQuarter);
}

/** Renewals, the start, and the end of a subscription, as far as they are known beforehand. */
function boundaries({ subscribing, leaving }: WorldCustomer): number[] {
  const { atMs, backdatedToMs, anchorMs } = subscribing;
  const anchor = new Date(anchorMs);
  const renewals = [0, 1, 2].map((months) => {
    const lastDay = new Date(Date.UTC(anchor.getUTCFullYear(), anchor.getUTCMonth() + months + 1, 0)).getUTCDate();
    const day = Math.min(anchor.getUTCDate(), lastDay);
    return Date.UTC(anchor.getUTCFullYear(), anchor.getUTCMonth() + months, day) + (anchorMs % DAY_MS);
  });
  const ends = leaving === undefined || leaving.how === "at_period_end" ? [] : [wholeSecond(leaving.atMs)];
  return [wholeSecond(backdatedToMs ?? atMs), ...renewals, ...ends];
}

/** Most records come at once, some a little late; in a world of late records a few come much later. */
function delayOf(random: Random, { lateRecords }: Trouble): number {
  const kind = lateRecords ? random.unit() : random.unit() * 0.9;
  if (kind < 0.8) return random.whole(20, 5_000);
  if (kind < 0.9) return random.whole(5_000, 10 * MINUTE_MS);
  if (kind < 0.95) return random.whole(10 * MINUTE_MS, 12 * HOUR_MS);
  return random.whole(12 * HOUR_MS, OLDEST_MS - HOUR_MS);
}

/** Within the time for which raw records are kept. */
function drawVoids(random: Random, records: readonly WorldRecord[]): World["voids"] {
  return records.flatMap((record) => {
    if (!random.chance(0.02)) return [];
    const atMs = record.arrivesMs + Math.round(random.spread(MINUTE_MS, 30 * DAY_MS));
    const again = random.chance(0.2) ? [{ record, atMs: atMs + HOUR_MS }] : [];
    return [{ record, atMs }, ...again].filter((one) => one.atMs < START_MS + QUARTER_MS);
  });
}

function wholeSecond(timeMs: number): number {
  return Math.floor(timeMs / SECOND_MS) * SECOND_MS;
}

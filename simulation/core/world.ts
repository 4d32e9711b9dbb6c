// A world, drawn from its seed: how large it is, who sends what when, and what happens to it.

import { compareText, fingerprintOf, type UsageRecord } from "../../src/domain/usage-record.ts";
import { MODELS } from "../catalog.ts";
import { Random } from "../random.ts";

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** minutes: seconds matter, as they do to leases and streams. days: hours matter, as they do to Stripe. */
export type Pace = "minutes" | "days";

/** Records that one client sends together, and how often it tries. */
export interface Submission {
  readonly atMs: number;
  readonly records: readonly UsageRecord[];
  readonly attempts: number;
}

export interface WorldCustomer {
  readonly customerId: string;
  readonly stripeCustomerId: string;
  /** When it is mapped to its Stripe customer; -Infinity where the id is Stripe's own. */
  readonly mappedMs: number;
  /** Ends and beginnings of its billing periods, whole seconds, ascending. */
  readonly boundariesMs: readonly number[];
}

export interface World {
  readonly seed: number;
  readonly pace: Pace;
  readonly intake: "redis" | "postgres";
  /** That must have a record before it is answered. */
  readonly waitReplicas: 0 | 1;
  readonly sink: "v1" | "stream";
  readonly lateUsage: "current_period" | "hold";
  /** Of what goes together: small, so that a few records are many batches. */
  readonly batch: number;
  readonly shardCount: number;
  readonly apiCount: number;
  readonly workerCount: number;
  readonly startMs: number;
  /** Until then things go wrong; after it everything must settle. */
  readonly endMs: number;
  /** When much comes at once. */
  readonly burstMs: number;
  readonly customers: readonly WorldCustomer[];
  readonly submissions: readonly Submission[];
}

export function drawWorld(seed: number): World {
  const random = new Random(seed, "world");
  const pace: Pace = random.chance(0.5) ? "minutes" : "days";
  const startMs = Date.UTC(2026, 2, 3) + random.whole(0, DAY_MS / SECOND_MS) * SECOND_MS;
  const lengthMs = pace === "minutes" ? random.whole(60, 240) * SECOND_MS : random.whole(20, 60) * HOUR_MS;
  const customers = Array.from({ length: random.whole(2, 6) }, (_, i) =>
    drawCustomer(random, i, startMs, lengthMs, pace),
  );
  const world = {
    seed,
    pace,
    intake: random.chance(0.75) ? ("redis" as const) : ("postgres" as const),
    waitReplicas: random.chance(0.5) ? (0 as const) : (1 as const),
    sink: random.chance(0.6) ? ("v1" as const) : ("stream" as const),
    lateUsage: random.chance(0.85) ? ("current_period" as const) : ("hold" as const),
    batch: random.whole(3, 20),
    shardCount: random.whole(2, 3),
    apiCount: random.whole(1, 2),
    workerCount: random.whole(1, 3),
    startMs,
    endMs: startMs + lengthMs,
    burstMs: startMs + Math.floor(random.unit() * lengthMs),
    customers,
  };
  return { ...world, submissions: drawSubmissions(random, world) };
}

function drawCustomer(random: Random, i: number, startMs: number, lengthMs: number, pace: Pace): WorldCustomer {
  const stripeCustomerId = `cus_${i}`;
  const own = random.chance(0.4);
  const mappedMs =
    own || random.chance(0.6) ? Number.NEGATIVE_INFINITY : startMs + Math.floor(random.unit() * lengthMs);
  // On whole minutes, or at any second, as Stripe has it.
  const grainMs = random.chance(0.5) ? SECOND_MS : MINUTE_MS;
  const drawnMs = pace === "minutes" ? random.whole(40, 300) * SECOND_MS : random.whole(5 * 60, 30 * 60) * MINUTE_MS;
  const periodMs = Math.ceil(drawnMs / grainMs) * grainMs;
  const firstMs = Math.floor((startMs - random.unit() * periodMs) / grainMs) * grainMs;
  const count = Math.ceil((lengthMs + 2 * periodMs) / periodMs) + 1;
  return {
    customerId: own ? stripeCustomerId : `customer-${i}`,
    stripeCustomerId,
    mappedMs,
    boundariesMs: random.chance(0.2) ? [] : Array.from({ length: count }, (_, n) => firstMs + n * periodMs),
  };
}

type Bare = Omit<World, "submissions">;

function drawSubmissions(random: Random, world: Bare): Submission[] {
  const count = random.whole(20, world.pace === "minutes" ? 110 : 80);
  const submissions: Submission[] = [];
  for (let i = 0; i < count; i += 1) {
    const atMs = drawInstant(random, world);
    const records = Array.from({ length: random.chance(0.2) ? random.whole(2, 4) : 1 }, (_, n) =>
      drawRecord(random, world, atMs, `k${i}.${n}`),
    );
    submissions.push({ atMs, records, attempts: random.chance(0.1) ? random.whole(1, 2) : 12 });
    const laterMs = atMs + Math.floor(random.unit() * (world.endMs - atMs));
    // The same again, as a caller does that has forgotten; or another record under the key, as a faulty one does.
    if (random.chance(0.1)) submissions.push({ atMs: laterMs, records, attempts: random.whole(1, 6) });
    const [first] = records;
    if (first !== undefined && random.chance(0.05)) {
      const atEither = random.chance(0.5) ? laterMs : atMs;
      const other = withQuantities(random, first);
      submissions.push({ atMs: atEither, records: [other], attempts: random.whole(1, 6) });
    }
  }
  return submissions.sort((a, b) => a.atMs - b.atMs);
}

/** At any time, within two seconds in the middle, or around ends of billing periods. */
function drawInstant(random: Random, world: Bare): number {
  const { startMs, endMs } = world;
  const anyMs = startMs + Math.floor(random.unit() * (endMs - startMs));
  const drawn = random.unit();
  if (drawn < 0.4) return anyMs;
  const { burstMs } = world;
  if (drawn < 0.65) return Math.min(burstMs + random.whole(0, 2 * SECOND_MS), endMs);
  const within = random.pick(world.customers).boundariesMs.filter((ms) => ms > startMs && ms < endMs);
  return within.length === 0 ? anyMs : Math.min(random.pick(within) + random.whole(0, 20 * SECOND_MS), endMs);
}

function drawRecord(random: Random, world: Bare, atMs: number, idempotencyKey: string): UsageRecord {
  const { customerId, boundariesMs } = random.pick(world.customers);
  const ago = world.pace === "minutes" ? [0, 2_000, 90_000] : [0, 10_000, 6 * HOUR_MS];
  let eventTimeMs = atMs - Math.floor(random.unit() * random.pick(ago));
  // On either side of a boundary.
  const near = boundariesMs.find((ms) => Math.abs(ms - eventTimeMs) < MINUTE_MS);
  if (near !== undefined && random.chance(0.5)) eventTimeMs = Math.min(atMs, near + random.whole(-1_000, 1_000));
  const sent = {
    customerId,
    idempotencyKey,
    apiKeyId: random.pick(["", "key"]),
    model: random.pick(MODELS),
    labels: [],
  };
  return withQuantities(random, { ...sent, eventTimeMs });
}

/** A record of such quantities as the seed gives, which tells it from another of the same key. */
function withQuantities(random: Random, bare: Omit<UsageRecord, "measurements" | "fingerprint">): UsageRecord {
  const measurements = [
    { meter: "input_tokens", quantity: BigInt(random.whole(0, 1_000)) },
    { meter: "output_tokens", quantity: BigInt(random.whole(1, 50)) },
  ].sort((a, b) => compareText(a.meter, b.meter));
  const { eventTimeMs, ...rest } = bare;
  const sentEventTime = {
    seconds: BigInt(Math.floor(eventTimeMs / 1_000)),
    nanos: (eventTimeMs % 1_000) * 1_000_000,
  };
  const fingerprint = fingerprintOf({ ...rest, measurements, sentEventTime });
  return { ...rest, measurements, eventTimeMs, fingerprint };
}

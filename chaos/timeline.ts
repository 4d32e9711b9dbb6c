// Which faults strike when, for how long and how hard: drawn from the seed, and from nothing else.
import type { Random } from "../simulation/random.ts";

/** Processes of the service. */
export const SERVICES = ["api-1", "api-2", "worker-1", "worker-2", "webhooks"] as const;
export const CLIENTS = ["client-1", "client-2", "client-3"] as const;
/** What a proxy stands in front of: each API, for the clients; the stores and Stripe, for the service; the webhooks, for Stripe. */
export const LINKS = ["api-1", "api-2", "redis", "postgres", "stripe", "webhooks"] as const;

export type ServiceName = (typeof SERVICES)[number];
export type ClientName = (typeof CLIENTS)[number];
export type ProgramName = ServiceName | ClientName | "stripe";
export type LinkName = (typeof LINKS)[number];

/** One fault, as planned. Its kind says what is done; what its target and numbers mean, faults.ts says. */
export interface PlannedFault {
  /** From 1, in the order of time. */
  readonly n: number;
  /** After the faults begin. */
  readonly atMs: number;
  readonly kind: FaultKind;
  /** A process, a link, or a kind of Stripe's faults; "" where the kind says it all. */
  readonly target: string;
  readonly forMs: number;
  /** Of Stripe's faults: the share of requests. Of a slow link: milliseconds. */
  readonly amount: number;
}

export const FAULT_KINDS = [
  "process killed",
  "process paused",
  "leader killed",
  "leader paused past its lease",
  "leader cut off from PostgreSQL",
  "rolling restart of the APIs",
  "rolling restart of the workers",
  "connections cut",
  "connections stalled",
  "connections slow",
  "connections refused",
  "answers lost",
  "Redis restarted",
  "Redis killed",
  "Redis paused",
  "Redis out of memory",
  "Redis wiped",
  "PostgreSQL restarted, fast",
  "PostgreSQL restarted, immediate",
  "PostgreSQL killed",
  "PostgreSQL refuses connections",
  "Stripe faulty",
  "Stripe's sums late",
  "Stripe's webhooks late, doubled and lost",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** What the simulated Stripe can do to a request. */
export const STRIPE_FAULTS = [
  "rate_limited",
  "lock_timeout",
  "conflict",
  "forbidden",
  "server_error",
  "server_error processed",
  "bad_gateway",
  "bad_gateway processed",
  "reset_before",
  "reset_after",
  "truncated",
  "slow_answer",
  "slow_processing",
  "session_expired",
  "dropped",
  "dropped burnt",
  "rejected",
] as const;

/** Must be longer than the lease that the deployment sets, LEASE_TTL_MS. */
const PAST_LEASE_MS = { least: 5_000, most: 9_000 };
const FIRST_MS = 4_000;
const BETWEEN_MS = { least: 1_500, most: 7_000 };

interface Card {
  readonly kind: FaultKind;
  readonly targets: readonly string[];
  readonly forMs: readonly [least: number, most: number];
  readonly amount?: readonly [least: number, most: number];
}

const PROCESSES = [...SERVICES, "stripe"];

/** One round: each fault of it strikes once, in an order of its own. */
function deck(): readonly Card[] {
  const each = (targets: readonly string[], card: Omit<Card, "targets">): Card[] =>
    targets.map((target) => ({ ...card, targets: [target] }));
  return [
    ...each(PROCESSES, { kind: "process killed", forMs: [100, 6_000] }),
    { kind: "process killed", targets: CLIENTS, forMs: [100, 3_000] },
    ...each(PROCESSES, { kind: "process paused", forMs: [500, 8_000] }),
    { kind: "leader killed", targets: [""], forMs: [100, 8_000] },
    { kind: "leader killed", targets: [""], forMs: [100, 8_000] },
    ...each(["", ""], { kind: "leader paused past its lease", forMs: [PAST_LEASE_MS.least, PAST_LEASE_MS.most] }),
    { kind: "leader cut off from PostgreSQL", targets: [""], forMs: [PAST_LEASE_MS.least, PAST_LEASE_MS.most] },
    { kind: "rolling restart of the APIs", targets: [""], forMs: [0, 0] },
    { kind: "rolling restart of the workers", targets: [""], forMs: [0, 0] },
    ...each(LINKS, { kind: "connections cut", forMs: [0, 0] }),
    { kind: "connections stalled", targets: LINKS, forMs: [1_000, 8_000] },
    { kind: "connections stalled", targets: ["redis", "postgres"], forMs: [1_000, 8_000] },
    { kind: "connections slow", targets: LINKS, forMs: [2_000, 10_000], amount: [5, 400] },
    { kind: "connections slow", targets: ["postgres"], forMs: [2_000, 10_000], amount: [5, 400] },
    { kind: "connections refused", targets: LINKS, forMs: [500, 6_000] },
    { kind: "answers lost", targets: LINKS, forMs: [500, 5_000] },
    ...each(["redis", "postgres", "stripe"], { kind: "answers lost", forMs: [500, 5_000] }),
    { kind: "Redis restarted", targets: [""], forMs: [0, 3_000] },
    ...each(["", ""], { kind: "Redis killed", forMs: [0, 5_000] }),
    { kind: "Redis paused", targets: [""], forMs: [500, 6_000] },
    { kind: "Redis out of memory", targets: [""], forMs: [1_000, 6_000] },
    { kind: "Redis wiped", targets: [""], forMs: [0, 3_000] },
    { kind: "PostgreSQL restarted, fast", targets: [""], forMs: [0, 5_000] },
    { kind: "PostgreSQL restarted, immediate", targets: [""], forMs: [0, 5_000] },
    { kind: "PostgreSQL killed", targets: [""], forMs: [0, 5_000] },
    { kind: "PostgreSQL refuses connections", targets: [""], forMs: [1_000, 6_000] },
    ...each(STRIPE_FAULTS, { kind: "Stripe faulty", forMs: [2_000, 12_000], amount: [0.1, 1] }),
    { kind: "Stripe's sums late", targets: [""], forMs: [5_000, 20_000], amount: [200, 3_000] },
    { kind: "Stripe's webhooks late, doubled and lost", targets: [""], forMs: [5_000, 20_000], amount: [0.2, 0.7] },
  ];
}

/** The faults of `lengthMs`, by their times, none of the kinds left out. Some last until others begin. */
export function drawTimeline(
  random: Random,
  lengthMs: number,
  leftOut: readonly FaultKind[] = [],
): readonly PlannedFault[] {
  const faults: PlannedFault[] = [];
  let cards: Card[] = [];
  const between = () => random.whole(BETWEEN_MS.least, BETWEEN_MS.most);
  for (let atMs = FIRST_MS; atMs < lengthMs; atMs += between()) {
    if (cards.length === 0) cards = deck().filter(({ kind }) => !leftOut.includes(kind));
    const [card] = cards.splice(random.whole(0, cards.length - 1), 1);
    if (card === undefined) continue;
    const { kind, targets, forMs, amount = [0, 0] } = card;
    faults.push({
      n: faults.length + 1,
      atMs,
      kind,
      target: random.pick(targets),
      forMs: random.whole(forMs[0], forMs[1]),
      amount: amount[1] > 1 ? random.whole(amount[0], amount[1]) : amount[0] + random.unit() * (amount[1] - amount[0]),
    });
  }
  return faults;
}

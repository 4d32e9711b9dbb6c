// What is done to both sides: each operation is drawn once and run on both, and draws nothing more while it runs.

import type { Random } from "../../../simulation/random.ts";
import type { FlushScope, LeaseGrant, PlanCursor } from "../../../src/app/ports/reports.ts";
import { isTaken, sumOf } from "../../../src/domain/explain-drift.ts";
import { closePeriod } from "../../../src/domain/invoiced-period.ts";
import { decide, freezeRemedy, type SpanView } from "../../../src/domain/reconcile.ts";
import { giveBack, planReports, type SinkOutcome, settle } from "../../../src/domain/report.ts";
import type { Side } from "./side.ts";

export const CUSTOMERS = ["cus_0", "cus_1"];
const EVENT_NAMES = ["input", "work"];
export const LAG_MS = 600_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const ORIGIN_MS = Date.UTC(2026, 2, 3, 8);
/** Ends of two periods, the second inside a minute. */
export const BOUNDARIES = [ORIGIN_MS + HOUR_MS, ORIGIN_MS + 3 * HOUR_MS + 105_000];

const CONTEXT = { deploymentId: "compared", lateUsage: "current_period" as const };

export interface Operation {
  readonly name: string;
  run(side: Side): Promise<unknown>;
}

type Draw = (random: Random) => Operation["run"];

/** Likely ones are named more than once. */
const DRAWS: readonly (readonly [name: string, draw: Draw])[] = [
  ["time", drawTime],
  ["time", drawTime],
  ["usage", drawUsage],
  ["usage", drawUsage],
  ["usage", drawUsage],
  ["plan", drawPlan],
  ["plan", drawPlan],
  ["claim", drawClaim],
  ["claim", drawClaim],
  ["settle", drawSettle],
  ["settle", drawSettle],
  ["settle", drawSettle],
  [
    "replace",
    () => async (side) =>
      sorted((await side.reports.replaceClosed(grantOf(side, 0), 100, CONTEXT)).map((r) => r.identifier)),
  ],
  ["acquire", drawAcquire],
  ["acquire", drawAcquire],
  ["renew", (random) => byGrant(random, (side, grant) => side.lease.renew(grant))],
  ["release", (random) => byGrant(random, async (side, grant) => void (await side.lease.release(grant)))],
  ["invoice", drawInvoice],
  ["reconcile", drawReconcile],
  ["reconcile", drawReconcile],
  [
    "close",
    () => (side) =>
      side.periods.close(grantOf(side, 0), 100, (period, nowMs) => closePeriod(period, { ...CONTEXT, nowMs })),
  ],
  ["map", drawMapping],
  ["request", (random) => asking(random)],
  ["complete", () => (side) => side.requests.complete(grantOf(side, 0), "v1")],
];

export function drawOperation(random: Random): Operation {
  const [name, draw] = random.pick(DRAWS);
  return { name, run: draw(random) };
}

function drawTime(random: Random): Operation["run"] {
  const byMs = Math.round(random.spread(1_000, random.chance(0.2) ? 24 * HOUR_MS : HOUR_MS) / 1_000) * 1_000;
  return async (side) => {
    await side.moveTo(Math.max(side.nowMs(), ORIGIN_MS + 2 * HOUR_MS) + byMs);
  };
}

function drawUsage(random: Random): Operation["run"] {
  const customerId = random.pick(CUSTOMERS);
  const eventName = random.pick(EVENT_NAMES);
  const windowStartMs = ORIGIN_MS + random.whole(0, 240) * MINUTE_MS;
  // A void takes back.
  const quantity = BigInt(random.whole(1, 5) * (random.chance(0.2) ? -10 : 10));
  return (side) => side.addUsage(customerId, eventName, windowStartMs, quantity);
}

function drawMapping(random: Random): Operation["run"] {
  // Mostly back and forth between two.
  const to = random.pick(["cus_0", "cus_9"]);
  return (side) => side.map("cus_0", to);
}

function drawPlan(random: Random): Operation["run"] {
  const customerId = random.chance(0.7) ? undefined : random.pick(CUSTOMERS);
  const scope: FlushScope = { customerId, includeOpen: random.chance(0.3) };
  const limit = random.whole(1, 6);
  return async (side) => {
    const steps: unknown[] = [];
    let after: PlanCursor | undefined;
    do {
      const step = await side.reports.plan(grantOf(side, 0), scope, after, limit, (windows, nowMs) =>
        planReports(windows, { ...CONTEXT, nowMs }),
      );
      steps.push(step);
      after = step.next;
    } while (after !== undefined);
    return steps;
  };
}

function drawClaim(random: Random): Operation["run"] {
  const back = random.chance(0.1) ? 1 : 0;
  return async (side) => {
    // Enough for all: which of equally urgent ones come first is nobody's promise.
    const { claimed, held } = await side.reports.claim(grantOf(side, back), 1_000);
    // Both in one order, so that both settle the same ones next.
    side.claimed = [...side.claimed, ...claimed].sort((a, b) => (a.identifier < b.identifier ? -1 : 1));
    const shown = claimed.map(
      ({ identifier, before, attempts, value }) => `${identifier} ${before} ${attempts} ${value}`,
    );
    return [sorted(shown), sorted(held)];
  };
}

const OUTCOMES: readonly (SinkOutcome | "given back")[] = [
  { kind: "accepted" },
  { kind: "accepted" },
  { kind: "taken" },
  { kind: "taken" },
  { kind: "duplicate" },
  { kind: "refused", code: "other", message: "no" },
  { kind: "throttled", message: "later" },
  { kind: "unknown", message: "who knows" },
  { kind: "unknown", message: "who knows" },
  "given back",
];

function drawSettle(random: Random): Operation["run"] {
  const shift = random.whole(0, OUTCOMES.length - 1);
  const back = random.chance(0.1) ? 1 : 0;
  return async (side) => {
    const [now, later] = [side.claimed.slice(0, 4), side.claimed.slice(4)];
    const settled = now.map((report, i) => {
      const outcome = OUTCOMES[(i + shift) % OUTCOMES.length] ?? "given back";
      const { before, attempts } = report;
      const settlement = outcome === "given back" ? giveBack(before, attempts) : settle(outcome, before, attempts);
      return { report, settlement };
    });
    side.claimed = later;
    await side.reports.settle(grantOf(side, back), settled);
  };
}

function drawAcquire(random: Random): Operation["run"] {
  const ttlMs = random.whole(1, 60) * MINUTE_MS;
  return async (side) => {
    const grant = await side.lease.acquire("somebody", ttlMs);
    if (grant !== undefined) side.grants.push(grant);
    return grant;
  };
}

function byGrant(random: Random, run: (side: Side, grant: LeaseGrant) => Promise<unknown>): Operation["run"] {
  const back = random.chance(0.3) ? 1 : 0;
  return (side) => run(side, grantOf(side, back));
}

/** The last grant but `back`; one that nobody was ever given where there is none. */
function grantOf({ grants }: Side, back: number): LeaseGrant {
  return grants.at(-1 - back) ?? { epoch: 999n, ttlMs: MINUTE_MS };
}

function drawInvoice(random: Random): Operation["run"] {
  const stripeCustomerId = random.pick(CUSTOMERS);
  const eventName = random.pick(EVENT_NAMES);
  const i = random.whole(0, 1);
  const [startMs, endMs] =
    i === 0 ? [ORIGIN_MS - HOUR_MS, BOUNDARIES[0] ?? 0] : [BOUNDARIES[0] ?? 0, BOUNDARIES[1] ?? 0];
  const billed = random.chance(0.4) ? undefined : BigInt(random.whole(0, 10) * 10);
  return async (side) => {
    // A final invoice stays as it is.
    const key = `${stripeCustomerId} ${eventName} ${startMs}`;
    const known = FINAL.get(side) ?? new Set<string>();
    FINAL.set(side, known);
    if (known.has(key)) return;
    if (billed !== undefined) known.add(key);
    await side.saveInvoice({ stripeCustomerId, eventName, startMs, endMs, finalizesMs: endMs + HOUR_MS, billed });
  };
}

const FINAL = new WeakMap<Side, Set<string>>();

function drawReconcile(random: Random): Operation["run"] {
  const lagMs = random.pick([0, LAG_MS]);
  const wish = random.unit();
  const apply = wish < 0.25 ? "repair" : wish < 0.4 ? "write_off" : undefined;
  const policy = { lagMs, repairLimit: 1_000_000n, apply } as const;
  const wrongBy = random.pick([0n, 20n, 20n, -20n]);
  return async (side) => {
    const grant = grantOf(side, 0);
    const step = await side.reconciliation.due(lagMs, false, undefined, 100);
    const { readAtMs } = step;
    const verdicts: unknown[] = [];
    for (const comparison of step.comparisons) {
      for (const { startMs, requested } of comparison.hours) {
        // By minutes at once, so that something is decided. Stripe counted what is believed, but for every third minute.
        const readings = Array.from({ length: 60 }, (_, i) => {
          const atMs = startMs + i * MINUTE_MS;
          return { startMs: atMs, endMs: atMs + MINUTE_MS, counted: 0n };
        });
        const countedIn = (view: SpanView) =>
          sumOf(view.reports.filter(isTaken)) + ((view.startMs / MINUTE_MS) % 3 === 0 ? wrongBy : 0n);
        const judged = await side.reconciliation.settle(
          grant,
          comparison,
          readAtMs,
          readings,
          (view) => decide({ ...view, counted: countedIn(view) }, policy),
          (of, remedy, nextSequence) => freezeRemedy(CONTEXT.deploymentId, of, remedy, nextSequence),
        );
        verdicts.push(judged);
        if (requested) await side.reconciliation.answered(grant, comparison, readAtMs, [startMs], []);
      }
    }
    return [step.comparisons, verdicts];
  };
}

function asking(random: Random): Operation["run"] {
  const customerId = random.chance(0.5) ? undefined : random.pick(CUSTOMERS);
  return async (side) => {
    const id = await side.requests.request(customerId);
    const open = await side.requests.unplanned();
    await side.requests.planned(
      grantOf(side, 0),
      open.map(({ requestId }) => requestId),
    );
    return [id, open];
  };
}

function sorted(texts: readonly string[]): readonly string[] {
  return [...texts].sort();
}

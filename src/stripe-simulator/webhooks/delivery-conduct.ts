// How deliveries go wrong on Stripe's side, on demand, and when one that failed is tried again.
import { z } from "zod";
import type { Settings } from "../state/settings.ts";

const HOUR_MS = 3_600_000;

/** What is set stays until it is set again; not kept over a restart. */
export const conductSchema = z.strictObject({
  /** Each event is sent so many times, all at once. Default 1. */
  copies: z.number().int().min(1).max(10).optional(),
  /** Nothing is sent until it is released. Default false. */
  hold: z.boolean().optional(),
  /** This share of events, 0 to 1, sets out late, so that others overtake it. Default 0. */
  delayRate: z.number().min(0).max(1).optional(),
  /** How late at most; drawn for each. Default an hour. */
  delayMaxMs: z
    .number()
    .int()
    .min(0)
    .max(72 * HOUR_MS)
    .optional(),
  /** This share of attempts, 0 to 1, fails before anything is sent, and counts as unanswered. Default 0. */
  failureRate: z.number().min(0).max(1).optional(),
});

export type ConductChange = z.infer<typeof conductSchema>;
export type Conduct = { readonly [K in keyof ConductChange]-?: NonNullable<ConductChange[K]> };

export const PROMPT_CONDUCT: Conduct = { copies: 1, hold: false, delayRate: 0, delayMaxMs: HOUR_MS, failureRate: 0 };

/** A number in [0, 1) that follows from the simulator's seed and these words alone, whatever else is drawn. */
export type Draw = (about: string) => number;

/** How long an event waits before its first attempt. */
export function firstDelayMs({ delayRate, delayMaxMs }: Conduct, draw: Draw, delivery: string): number {
  if (delayRate === 0 || draw(`late ${delivery}`) >= delayRate) return 0;
  return Math.ceil(draw(`how late ${delivery}`) * delayMaxMs);
}

/** Whether this attempt gets lost before it is sent. */
export function isLost({ failureRate }: Conduct, draw: Draw, delivery: string, attempt: number): boolean {
  return failureRate > 0 && draw(`lost ${delivery} ${attempt}`) < failureRate;
}

const LIVE_GIVE_UP_MS = 3 * 24 * HOUR_MS;
/** Three more attempts over a few hours; Stripe does not publish when. */
const SANDBOX_RETRIES_MS = [HOUR_MS / 3, HOUR_MS, 2 * HOUR_MS];

/**
 * How long after the attempt that just failed, the `attempt`th, comes the next; undefined for never. Live: doubling from
 * `firstRetryMs` to an hour at most, for three days. Sandbox: after 20 min, 1 h, 2 h.
 */
export function retryDelayMs(
  retries: Settings["webhookRetries"],
  attempt: number,
  ageMs: number,
  firstRetryMs: number,
): number | undefined {
  if (retries === "sandbox") return SANDBOX_RETRIES_MS[attempt - 1];
  return ageMs >= LIVE_GIVE_UP_MS ? undefined : Math.min(HOUR_MS, firstRetryMs * 2 ** (attempt - 1));
}

// Late usage: what is to be reported of a window whose billing period is closed. Pure.
import { DAY_MS } from "./window.ts";

/**
 * `current_period`: it is billed in the period that is open, and the report says so; `hold`: it waits for a person. Either way it is listed.
 */
export type LateUsagePolicy = "current_period" | "hold";

/** Stripe takes events of the last 35 days. One that is nearly as old may be older when it arrives. */
export const EVENT_AGE_MAX_MS = 35 * DAY_MS;
const EVENT_AGE_MARGIN_MS = 3_600_000;

/** So long before an invoice is final, its period counts as closed: what is sent then may be counted after. */
export const FINALIZATION_MARGIN_MS = 120_000;

/** Why a report is held that would be late, where the policy is to hold. */
export const HELD_LATE = "late";
/** Why a report is held that is late and has no period to go to: the subscription has ended. */
export const HELD_NO_OPEN_PERIOD = "no_open_period";

/** What decides when a window's quantity is billed. */
export interface BillingTime {
  readonly windowStartMs: number;
  /** The invoice of the window's period is final, or will be before an event sent now is surely counted. */
  readonly periodClosed: boolean;
  /** Whether some subscription of the customer lives, or none was ever heard of. */
  readonly periodOpen: boolean;
}

/** Where an event goes. */
export interface Placement {
  /** Of the event, whole seconds. */
  readonly timestampMs: number;
  readonly late: boolean;
  /** Undefined: to be sent. */
  readonly heldFor: typeof HELD_LATE | typeof HELD_NO_OPEN_PERIOD | undefined;
}

/** Places what is reported of a window at `nowMs`: in its own period while that can still be billed, else as the policy says. */
export function place(window: BillingTime, policy: LateUsagePolicy, nowMs: number): Placement {
  const own = { timestampMs: window.windowStartMs, late: false };
  const tooOld = window.windowStartMs <= nowMs - EVENT_AGE_MAX_MS + EVENT_AGE_MARGIN_MS;
  if (!window.periodClosed && !tooOld) return { ...own, heldFor: undefined };
  if (policy === "hold") return { ...own, heldFor: HELD_LATE };
  if (!window.periodOpen) return { ...own, heldFor: HELD_NO_OPEN_PERIOD };
  return { timestampMs: Math.floor(nowMs / 1000) * 1000, late: true, heldFor: undefined };
}

// What is taken back of a window that shrank, and from whom. Pure.
import type { BillingTime } from "./late-usage.ts";
import type { PendingWindow } from "./report.ts";

/** A Stripe customer to report to, and what decides when its usage is billed. */
export interface Payer extends Omit<BillingTime, "windowStartMs"> {
  readonly stripeCustomerId: string;
  /** When the first draft invoice of the window's period is final; undefined where none is known. */
  readonly finalizesAtMs: number | undefined;
}

/** What was reported of a window to a Stripe customer that its customer is not mapped to any more; above 0. */
export interface ReportedElsewhere extends Payer {
  readonly quantity: bigint;
}

/** A part of what a window has beyond what was reported. */
export interface Share {
  readonly payer: Payer;
  readonly quantity: bigint;
}

/**
 * What is taken back of a window is first taken from what is held of it, and held beside that: Stripe never counted it, so that a negative
 * report would take away what others were billed for. Both go together, or neither does.
 */
export function heldPart(
  { held }: PendingWindow,
  delta: bigint,
): { readonly withHeld: bigint; readonly reason: string | undefined } {
  if (held === undefined || held.quantity <= 0n || delta >= 0n) return { withHeld: 0n, reason: undefined };
  return { withHeld: -delta < held.quantity ? delta : -held.quantity, reason: held.reason };
}

/**
 * Who is reported what of `delta`. What comes in addition goes to the Stripe customer that is mapped now. What is taken back goes to those who
 * were reported it: the one that is mapped now as far as it was, then those before it, last first, so that nobody is credited what another
 * was billed. More than all of them were reported, which only a fault could ask for, goes to the one that is mapped now.
 */
export function sharesOf(window: PendingWindow, delta: bigint): readonly Share[] {
  if (delta >= 0n || window.elsewhere.length === 0) return [{ payer: window, quantity: delta }];
  const sum = (quantities: readonly bigint[]) => quantities.reduce((total, quantity) => total + quantity, 0n);
  const elsewhere = sum(window.elsewhere.map(({ quantity }) => quantity));
  const here = window.reported - elsewhere - (window.held?.quantity ?? 0n);
  const payers = [
    { payer: window as Payer, most: here },
    ...window.elsewhere.map((to) => ({ payer: to, most: to.quantity })),
  ];
  let left = -delta;
  const shares = payers.flatMap(({ payer, most }) => {
    const isEnough = most >= left;
    const quantity = isEnough ? left : most;
    if (quantity <= 0n) return [];
    left -= quantity;
    return [{ payer, quantity: -quantity }];
  });
  return left === 0n ? shares : [...shares, { payer: window, quantity: -left }];
}

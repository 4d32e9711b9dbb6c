// The ports of a process that takes webhooks: the inbox and the accounts, over a wire to the database; Stripe's objects, over another.

import type { Accounts, AccountWriter, StripeEventInbox, StripeObjects } from "../../src/app/ports/accounts.ts";
import type { Interval } from "../../src/domain/window.ts";
import type { Machine } from "./machine.ts";
import type { ModelAccounts, Turn } from "./model/accounts.ts";
import type { Billing } from "./model/billing.ts";
import type { ModelStripe } from "./model/stripe.ts";
import type { ModelStripeEvents } from "./model/stripe-events.ts";
import type { Timeline } from "./scheduler.ts";
import { type Wire, WireError } from "./wire.ts";

export function inboxPort(machine: Machine, wire: Wire, events: ModelStripeEvents): StripeEventInbox {
  return {
    store: (event) => wire.call(machine, () => events.store(event)),
    claim: (...args) => wire.call(machine, () => events.claim(...args)),
    applied: (eventId) => wire.call(machine, () => events.applied(eventId)),
    failed: (eventId, _message, retryAfterMs) => wire.call(machine, () => events.failed(eventId, retryAfterMs)),
    forgetApplied: (...args) => wire.call(machine, () => events.forgetApplied(...args)),
  };
}

/** How often who waits for its turn looks, and how long it waits. */
const TURN_POLL_MS = 200;
const TURN_WAIT_MS = 30_000;

export function accountsPort(
  machine: Machine,
  wire: Wire,
  accounts: ModelAccounts,
  billing: Billing,
  timeline: Timeline,
): Accounts {
  const clock = machine.clock(undefined, timeline);
  const refused = () => Promise.reject(new Error("not in these worlds"));
  return {
    async exclusively(objectId, work) {
      let isOver = false;
      const turn: Turn = { objectId, isAlive: () => machine.isAlive && !isOver };
      const untilMs = timeline.nowMs + TURN_WAIT_MS;
      const writes: (() => void)[] = [];
      const writer: AccountWriter = {
        saveSubscription: async (state) => void writes.push(() => accounts.saveSubscription(state)),
        saveInvoice: async (state) => {
          writes.push(() => accounts.saveInvoice(state));
          return accounts.periodsOf(state);
        },
        removeDraft: refused,
        saveClaim: refused,
      };
      try {
        while (!(await wire.call(machine, () => accounts.take(turn)))) {
          if (timeline.nowMs >= untilMs) throw new WireError("the turn did not come");
          await clock.sleep(TURN_POLL_MS);
        }
        const result = await work(writer);
        await wire.call(machine, () => accounts.commit(turn, writes));
        return result;
      } finally {
        // A connection that is lost before the commit takes all of it back.
        isOver = true;
        accounts.giveBack(turn);
      }
    },
    periodsChanged: (periods) => wire.call(machine, () => accounts.periodsChanged(periods)),
    subscriptionsOf: refused,
    customerIdOf: (stripeCustomerId) => wire.call(machine, () => billing.customerOf(stripeCustomerId)),
  };
}

/** Of a Stripe customer: when its periods end and begin. */
export type PeriodsOf = (stripeCustomerId: string) => readonly number[];

export function subscriptionIdOf(stripeCustomerId: string): string {
  return `sub_${stripeCustomerId}`;
}

/** Stripe's objects as they are at the instant of the reading. */
export function objectsPort(
  machine: Machine,
  wire: Wire,
  stripe: ModelStripe,
  periodsOf: PeriodsOf,
  timeline: Timeline,
): StripeObjects {
  return {
    subscription: (subscriptionId, signal) => {
      const read = () => subscriptionAt(subscriptionId.slice("sub_".length), periodsOf, timeline.nowMs);
      return wire.call(machine, read, { signal, repeatable: true });
    },
    invoice: (invoiceId, signal) =>
      wire.call(machine, () => stripe.invoiceState(invoiceId), { signal, repeatable: true }),
    customer: () => Promise.reject(new Error("not in these worlds")),
  };
}

export function subscriptionAt(stripeCustomerId: string, periodsOf: PeriodsOf, nowMs: number) {
  const boundariesMs = periodsOf(stripeCustomerId);
  return {
    subscriptionId: subscriptionIdOf(stripeCustomerId),
    stripeCustomerId,
    status: "active",
    currentPeriod: periodAt(boundariesMs, nowMs),
    boundariesMs,
  };
}

function periodAt(boundariesMs: readonly number[], nowMs: number): Interval | undefined {
  const i = boundariesMs.findIndex((ms) => ms > nowMs);
  const [startMs, endMs] = [boundariesMs[i - 1], boundariesMs[i]];
  return startMs === undefined || endMs === undefined ? undefined : { startMs, endMs };
}

// What is kept of subscriptions and invoices, and the turns that writers take at each: one transaction from the lock to the commit.

import type { InvoiceState, PaidPeriod, SubscriptionState } from "../../../src/app/ports/accounts.ts";
import type { AccountReading } from "../../../src/app/ports/ledger.ts";
import { readEntitlement } from "../../../src/domain/entitlement.ts";
import { linePeriods } from "../../../src/domain/metered-lines.ts";
import type { Billing } from "./billing.ts";
import type { ModelOutbox } from "./outbox.ts";

/** Who holds the turn at an object; nobody else's turn comes before it is over, or its holder is dead. */
export interface Turn {
  readonly objectId: string;
  readonly isAlive: () => boolean;
}

/** Told what is written. */
export interface AccountsWatcher {
  /** An invoice that was final is written as a draft. */
  wentBack(invoiceId: string): void;
}

export class ModelAccounts {
  readonly subscriptions = new Map<string, SubscriptionState>();
  readonly #turns = new Map<string, Turn>();
  readonly #billing: Billing;
  readonly #outbox: ModelOutbox;
  readonly #watcher: AccountsWatcher;

  constructor(billing: Billing, outbox: ModelOutbox, watcher: AccountsWatcher) {
    this.#billing = billing;
    this.#outbox = outbox;
    this.#watcher = watcher;
  }

  /** Whether the turn could be had. */
  take(turn: Turn): boolean {
    if (this.#turns.get(turn.objectId)?.isAlive()) return false;
    this.#turns.set(turn.objectId, turn);
    return true;
  }

  /** Does all of it, unless the turn was given back before: then the transaction was undone, and nothing of it is written. */
  commit(turn: Turn, writes: readonly (() => void)[]): void {
    if (this.#turns.get(turn.objectId) !== turn) throw new Error("the transaction was undone");
    for (const write of writes) write();
    this.#turns.delete(turn.objectId);
  }

  giveBack(turn: Turn): void {
    if (this.#turns.get(turn.objectId) === turn) this.#turns.delete(turn.objectId);
  }

  saveSubscription(state: SubscriptionState): void {
    this.subscriptions.set(state.subscriptionId, state);
  }

  /** The periods that an invoice bills, and those that it billed by what is known so far. */
  periodsOf({ invoiceId, stripeCustomerId, lines }: InvoiceState): readonly PaidPeriod[] {
    const before = this.#billing.periods.filter((period) => period.invoiceId === invoiceId);
    return [...before, ...linePeriods(lines).map((period) => ({ ...period, stripeCustomerId }))].map(
      ({ eventName, startMs, endMs }) => ({ stripeCustomerId, eventName, startMs, endMs }),
    );
  }

  saveInvoice({ invoiceId, stripeCustomerId, status, finalizesMs, finalizedMs, lines }: InvoiceState): void {
    const isDraft = status === "draft";
    for (const { quantity, ...period } of linePeriods(lines)) {
      const before = this.#billing.periods.find(
        (one) => one.invoiceId === invoiceId && one.eventName === period.eventName,
      );
      if (isDraft && before?.billed !== undefined) this.#watcher.wentBack(invoiceId);
      const billed = isDraft ? undefined : quantity;
      this.#billing.save({ ...period, invoiceId, stripeCustomerId, billed, finalizesMs, finalizedMs });
    }
  }

  periodsChanged(periods: readonly PaidPeriod[]): void {
    for (const { stripeCustomerId, eventName, ...period } of periods) {
      const times = this.#billing
        .periodsAt(stripeCustomerId, eventName, period.startMs)
        .flatMap(({ finalizesMs, finalizedMs }) => finalizesMs ?? finalizedMs ?? []);
      if (times.length > 0) this.#outbox.setDeadlines(stripeCustomerId, eventName, period, Math.min(...times));
    }
  }

  /** What the subscriptions of a customer say at an instant. */
  reading(customerId: string, nowMs: number): AccountReading {
    const stripeCustomerId = this.#billing.stripeCustomerOf(customerId);
    const own = [...this.subscriptions.values()].filter((one) => one.stripeCustomerId === stripeCustomerId);
    return readEntitlement(own, [], nowMs, 0);
  }
}

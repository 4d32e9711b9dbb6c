// What the service knows of accounts and invoices, as its tables hold it.

export interface InvoicedPeriodRow {
  readonly invoiceId: string;
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly startMs: number;
  readonly endMs: number;
  /** Of the draft; undefined once it is final. */
  readonly finalizesMs: number | undefined;
  /** Undefined while it is a draft, as what follows. */
  readonly billed: bigint | undefined;
  readonly finalizedMs: number | undefined;
  closed: boolean;
}

export class Billing {
  /** Stripe customers by customer. */
  readonly mapped = new Map<string, string>();
  /** All that ever paid for a customer. */
  readonly #payers = new Map<string, Set<string>>();
  readonly #periods = new Map<string, InvoicedPeriodRow>();

  get periods(): readonly InvoicedPeriodRow[] {
    return [...this.#periods.values()];
  }

  map(customerId: string, stripeCustomerId: string): void {
    for (const one of [this.stripeCustomerOf(customerId), stripeCustomerId])
      if (one !== undefined) this.#payers.set(customerId, (this.#payers.get(customerId) ?? new Set()).add(one));
    this.mapped.set(customerId, stripeCustomerId);
  }

  payersOf(customerId: string): readonly string[] {
    const now = this.stripeCustomerOf(customerId);
    return [...(this.#payers.get(customerId) ?? (now === undefined ? [] : [now]))];
  }

  stripeCustomerOf(customerId: string): string | undefined {
    return this.mapped.get(customerId) ?? (customerId.startsWith("cus_") ? customerId : undefined);
  }

  customerOf(stripeCustomerId: string): string {
    for (const [customerId, mapped] of this.mapped) if (mapped === stripeCustomerId) return customerId;
    return stripeCustomerId;
  }

  periodsAt(stripeCustomerId: string, eventName: string, timeMs: number): readonly InvoicedPeriodRow[] {
    return this.periods.filter(
      (period) =>
        period.stripeCustomerId === stripeCustomerId &&
        period.eventName === eventName &&
        period.startMs <= timeMs &&
        timeMs < period.endMs,
    );
  }

  /** What counts in a period whose invoice is final has changed: it is to be compared again. */
  reopen(stripeCustomerId: string, eventName: string, timeMs: number): void {
    for (const period of this.periodsAt(stripeCustomerId, eventName, timeMs)) period.closed = false;
  }

  /** An invoice's period as Stripe has it now; a repeat that says the same changes nothing. */
  save(period: Omit<InvoicedPeriodRow, "closed">): void {
    const key = `${period.invoiceId} ${period.eventName}`;
    const before = this.#periods.get(key);
    if (before !== undefined && before.billed === period.billed && before.finalizesMs === period.finalizesMs) return;
    this.#periods.set(key, { ...period, closed: before?.closed ?? false });
  }
}

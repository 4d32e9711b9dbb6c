// One side of the comparison: the ports, and what a test does to the tables behind them.
import type { InvoicedPeriods } from "../../../src/app/ports/invoiced-periods.ts";
import type { Reconciliation } from "../../../src/app/ports/reconciliation.ts";
import type { ClaimedReport, FlushRequests, Lease, LeaseGrant, Reports } from "../../../src/app/ports/reports.ts";

/** A period of an invoice, as Stripe has it. */
export interface PeriodState {
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly finalizesMs: number;
  /** Undefined while it is a draft. */
  readonly billed: bigint | undefined;
}

/** By table. A report's are its identifier, kind, value, time, whether it is late, its state, and more. */
export type Rows = Readonly<Record<string, readonly (readonly unknown[])[]>>;

export interface Side {
  readonly reports: Reports;
  readonly requests: FlushRequests;
  readonly lease: Lease;
  readonly reconciliation: Reconciliation;
  readonly periods: InvoicedPeriods;
  /** What the side's own grants are; later ones last. */
  readonly grants: LeaseGrant[];
  /** Claimed and not yet settled. */
  claimed: readonly ClaimedReport[];
  nowMs(): number;
  moveTo(nowMs: number): Promise<void>;
  addUsage(customerId: string, eventName: string, windowStartMs: number, quantity: bigint): Promise<void>;
  saveInvoice(state: PeriodState): Promise<void>;
  /** Another Stripe customer pays for a customer from now on. */
  map(customerId: string, stripeCustomerId: string): Promise<void>;
  /** All rows, in an order of their own. */
  rows(): Promise<Rows>;
}

/** An order that both sides can give their rows. */
export function inOrder(rows: readonly (readonly unknown[])[]): readonly (readonly unknown[])[] {
  const texts = rows.map((row) => JSON.stringify(row)).sort();
  return texts.map((text) => JSON.parse(text) as readonly unknown[]);
}

// An invoice's state, and how Stripe renders it. While it is a draft, metered quantities are what the meter says now.
import type { Account } from "../state/account.ts";
import { formatQuantity, QUANTITY_ONE } from "../usage/quantity.ts";
import { amountOf } from "./money.ts";
import type { Price } from "./prices.ts";

/** One line, of one subscription item and period. */
export interface InvoiceLine {
  readonly id: string;
  readonly price: Price;
  readonly subscription: string;
  readonly subscriptionItem: string;
  readonly period: { readonly start: number; readonly end: number };
  /** Scaled. Null while it follows the meter: until finalization. */
  quantity: bigint | null;
}

export interface Invoice {
  readonly id: string;
  readonly created: number;
  readonly customer: string;
  readonly subscription: string;
  readonly billing_reason: "subscription_create" | "subscription_cycle" | "subscription_update";
  readonly collection_method: "charge_automatically" | "send_invoice";
  readonly currency: string;
  readonly period_start: number;
  readonly period_end: number;
  readonly lines: readonly InvoiceLine[];
  readonly auto_advance: boolean;
  status: "draft" | "open" | "paid" | "uncollectible" | "void";
  number: string | null;
  due_date: number | null;
  effective_at: number | null;
  amount_paid: number;
  attempt_count: number;
  automatically_finalizes_at: number | null;
  webhooks_delivered_at: number | null;
  readonly transitions: {
    finalized_at: number | null;
    marked_uncollectible_at: number | null;
    paid_at: number | null;
    voided_at: number | null;
  };
}

/** What the numbers of a customer's invoices begin with. */
export function invoicePrefix(customerId: string): string {
  return customerId.slice(-8).toUpperCase();
}

/** A line's quantity, scaled: frozen, or the meter's aggregate over the line's period, never below zero. */
export function lineQuantity(account: Account, invoice: Invoice, line: InvoiceLine): bigint {
  if (line.quantity !== null) return line.quantity;
  const meter = account.meters.find(line.price.recurring?.meter ?? "");
  if (meter === undefined) return 0n;
  const usage =
    account.usage.aggregate(meter.id, invoice.customer, line.period, meter.default_aggregation.formula) ?? 0n;
  return usage > 0n ? usage : 0n;
}

/** What the invoice comes to, in the currency's smallest unit. */
export function invoiceTotal(account: Account, invoice: Invoice): number {
  return invoice.lines.reduce((sum, line) => sum + amountOf(line.price, lineQuantity(account, invoice, line)), 0);
}

export function renderLine(account: Account, invoice: Invoice, line: InvoiceLine): object {
  const quantity = lineQuantity(account, invoice, line);
  const amount = amountOf(line.price, quantity);
  const product = account.products.find(line.price.product);
  return {
    id: line.id,
    object: "line_item",
    amount,
    currency: invoice.currency,
    description: product?.name ?? null,
    discount_amounts: [],
    discountable: true,
    discounts: [],
    invoice: invoice.id,
    livemode: false,
    metadata: {},
    parent: {
      invoice_item_details: null,
      subscription_item_details: {
        invoice_item: null,
        proration: false,
        proration_details: { credited_items: null },
        subscription: line.subscription,
        subscription_item: line.subscriptionItem,
      },
      type: "subscription_item_details",
    },
    period: line.period,
    pretax_credit_amounts: [],
    pricing: {
      price_details: { price: line.price.id, product: line.price.product },
      type: "price_details",
      unit_amount_decimal: formatQuantity(line.price.unitAmount),
    },
    quantity: Number(quantity / QUANTITY_ONE),
    quantity_decimal: formatQuantity(quantity),
    subscription: line.subscription,
    subtotal: amount,
    taxes: [],
  };
}

/** An invoice carries the first of its lines; the others must be listed. */
const LINES_SHOWN_MAX = 10;

/** `invoice`. */
export function renderInvoice(account: Account, invoice: Invoice): object {
  const total = invoiceTotal(account, invoice);
  const customer = account.customers.find(invoice.customer);
  const { transitions, lines, subscription, ...shown } = invoice;
  return {
    ...shown,
    object: "invoice",
    ...ABSENT,
    amount_due: total,
    amount_remaining: total - invoice.amount_paid,
    attempted: invoice.attempt_count > 0,
    customer_email: customer?.email ?? null,
    customer_name: customer?.name ?? null,
    customer_phone: customer?.phone ?? null,
    lines: {
      object: "list",
      data: lines.slice(0, LINES_SHOWN_MAX).map((line) => renderLine(account, invoice, line)),
      has_more: lines.length > LINES_SHOWN_MAX,
      url: `/v1/invoices/${invoice.id}/lines`,
    },
    parent: {
      quote_details: null,
      subscription_details: {
        metadata: { ...account.subscriptions.find(subscription)?.metadata },
        subscription,
      },
      type: "subscription_details",
    },
    status_transitions: { ...transitions },
    subtotal: total,
    subtotal_excluding_tax: total,
    total,
    total_excluding_tax: total,
  };
}

/** Parts of an invoice that the simulator has no use for, as Stripe shows them when they are not set. */
const ABSENT = {
  account_country: "US",
  account_name: "Simulated account",
  account_tax_ids: null,
  amount_overpaid: 0,
  amount_shipping: 0,
  application: null,
  automatic_tax: { disabled_reason: null, enabled: false, liability: null, provider: null, status: null },
  custom_fields: null,
  customer_account: null,
  customer_address: null,
  customer_shipping: null,
  customer_tax_exempt: "none",
  customer_tax_ids: [],
  default_payment_method: null,
  default_source: null,
  default_tax_rates: [],
  description: null,
  discounts: [],
  ending_balance: null,
  footer: null,
  from_invoice: null,
  hosted_invoice_url: null,
  invoice_pdf: null,
  issuer: { type: "self" },
  last_finalization_error: null,
  latest_revision: null,
  livemode: false,
  metadata: {},
  next_payment_attempt: null,
  on_behalf_of: null,
  payment_settings: { default_mandate: null, payment_method_options: null, payment_method_types: null },
  post_payment_credit_notes_amount: 0,
  pre_payment_credit_notes_amount: 0,
  receipt_number: null,
  rendering: null,
  shipping_cost: null,
  shipping_details: null,
  starting_balance: 0,
  statement_descriptor: null,
  test_clock: null,
  total_discount_amounts: [],
  total_pretax_credit_amounts: [],
  total_taxes: [],
};

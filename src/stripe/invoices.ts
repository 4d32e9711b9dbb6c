// Invoices as the accounts need them: their status, when they become final, and what their lines bill of metered usage.
import type Stripe from "stripe";
import type { InvoiceState } from "../app/ports/accounts.ts";
import type { Logger } from "../app/ports/logger.ts";
import type { MeteredLine } from "../domain/metered-lines.ts";
import type { MeterNames } from "./meter-names.ts";
import { abortable, idOf, READ, readOrUndefined } from "./read.ts";

/** Most lines read of one invoice. Stripe allows 20 items a subscription; tiers and pending items multiply them. */
const LINES_MAX = 10_000;

/** One request, another per 100 lines beyond the first ten, and two per price that was not met before. */
export async function readInvoice(
  stripe: Stripe,
  meters: MeterNames,
  logger: Logger,
  invoiceId: string,
  signal: AbortSignal,
): Promise<InvoiceState | undefined> {
  const invoice = await readOrUndefined(stripe.invoices.retrieve(invoiceId, {}, READ), signal);
  if (invoice === undefined) return undefined;
  const lines = invoice.lines.has_more
    ? stripe.invoices.listLineItems(invoiceId, { limit: 100 }, READ).autoPagingToArray({ limit: LINES_MAX })
    : Promise.resolve(invoice.lines.data);
  const metered: MeteredLine[] = [];
  for (const line of await abortable(lines, signal)) {
    const found = await toMeteredLine(meters, logger, invoiceId, line, signal);
    if (found !== undefined) metered.push(found);
  }
  const isDraft = invoice.status === "draft";
  return {
    invoiceId,
    stripeCustomerId: idOf(invoice.customer),
    subscriptionId: idOf(invoice.parent?.subscription_details?.subscription),
    status: invoice.status ?? "",
    finalizesMs: isDraft ? toMs(invoice.automatically_finalizes_at) : undefined,
    finalizedMs: toMs(invoice.status_transitions.finalized_at),
    lines: metered,
  };
}

/** Undefined for a line of a price that is not metered. A line that a removed item left behind bills usage too, though it is an invoice item. */
async function toMeteredLine(
  meters: MeterNames,
  logger: Logger,
  invoiceId: string,
  line: Stripe.InvoiceLineItem,
  signal: AbortSignal,
): Promise<MeteredLine | undefined> {
  const priceId = idOf(line.pricing?.price_details?.price);
  if (priceId === "") return undefined;
  const priced = await meters.ofPrice(priceId, signal);
  if (priced === undefined)
    logger.warn({ invoiceId, priceId }, "an invoice line has a price that Stripe does not know");
  if (priced?.eventName === undefined) return undefined;
  const { subscription_item_details: ofItem, invoice_item_details: ofInvoiceItem } = line.parent ?? {};
  return {
    subscriptionItem: ofItem?.subscription_item ?? ofInvoiceItem?.invoice_item ?? line.id,
    eventName: priced.eventName,
    startMs: line.period.start * 1000,
    endMs: line.period.end * 1000,
    quantity: priced.countsUnits ? wholeQuantity(line, logger) : undefined,
  };
}

/** Reports are whole and their sums not billed below zero: anything else was not ours to begin with, and is told. */
function wholeQuantity(line: Stripe.InvoiceLineItem, logger: Logger): bigint | undefined {
  const { quantity, quantity_decimal: exact } = line;
  if (exact === null) return quantity === null ? undefined : BigInt(quantity);
  const whole = exact.toFixed(0, "round-down");
  if (exact.isNegative() || exact.toString() !== whole)
    logger.warn(
      { lineId: line.id, quantity: exact.toString() },
      "an invoice line's quantity is no whole number of units",
    );
  return BigInt(whole);
}

function toMs(seconds: number | null): number | undefined {
  return seconds === null ? undefined : seconds * 1000;
}

// The page at /_simulator/: what this stand-in holds, for a person to look at.
import { renderInvoice } from "../billing/invoice.ts";
import type { Account } from "../state/account.ts";
import type { DeliveryAttempt } from "../webhooks/delivery.ts";
import { usageTotals } from "./inspection.ts";

const ROWS_MAX = 200;

/** HTML that names itself simulated on every screen. */
export function renderPage(account: Account, nowMs: number, deliveries: readonly DeliveryAttempt[]): string {
  const customers = [...account.customers.values()].filter(({ deleted }) => !deleted);
  const invoices = [...account.invoices.values()].map((invoice) => {
    const { total } = renderInvoice(account, invoice) as { readonly total: number };
    return [invoice.id, invoice.customer, invoice.status, `${total} ${invoice.currency}`, at(invoice.period_end)];
  });
  const subscriptions = [...account.subscriptions.values()].map((one) => [
    one.id,
    one.customer,
    one.status,
    ...[one.items[0]?.current_period_start, one.items[0]?.current_period_end].map((time) => at(time ?? 0)),
  ]);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>SIMULATED Stripe</title><style>
body{font:14px system-ui,sans-serif;margin:2rem;max-width:70rem}table{border-collapse:collapse;margin:.5rem 0 1.5rem}
td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}strong{background:#c00;color:#fff;padding:.2rem .6rem}
</style></head><body>
<h1><strong>SIMULATED</strong> Stripe account</h1>
<p>Nothing here is real: no money, no customer. The simulator's time is ${new Date(nowMs).toISOString()}.</p>
<p>${customers.length} customers, ${account.usage.events.length} meter events, ${account.events.size} events,
${account.deliveries.size} webhook deliveries waiting.</p>
${table(
  "Usage counted",
  ["event name", "customer", "sum"],
  usageTotals(account).map((one) => [one.event_name, one.customer, one.sum]),
)}
${table(
  "Meters",
  ["id", "event name", "formula", "status"],
  [...account.meters.values()].map((meter) => [
    meter.id,
    meter.event_name,
    meter.default_aggregation.formula,
    meter.status,
  ]),
)}
${table(
  "Customers",
  ["id", "name", "email"],
  customers.map(({ id, name, email }) => [id, name ?? "", email ?? ""]),
)}
${table("Subscriptions", ["id", "customer", "status", "period start", "period end"], subscriptions)}
${table("Invoices", ["id", "customer", "status", "total", "period end"], invoices)}
${table(
  "Webhook attempts",
  ["event", "type", "url", "status"],
  deliveries.map(({ event, type, url, status }) => [event, type, url, String(status ?? "no answer")]),
)}
</body></html>`;
}

function table(title: string, columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const shown = rows.slice(-ROWS_MAX).reverse();
  const note = rows.length > shown.length ? ` (the last ${shown.length} of ${rows.length})` : "";
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join("")}</tr>`;
  return `<h2>${title}${note}</h2><table>${line(columns, "th")}${shown.map((row) => line(row, "td")).join("")}</table>`;
}

function at(unixSeconds: number): string {
  return new Date(unixSeconds * 1_000).toISOString();
}

function escapeHtml(text: string): string {
  const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? character);
}

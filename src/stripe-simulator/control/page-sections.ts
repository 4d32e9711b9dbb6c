// What the page shows, section by section.
import { invoiceTotal } from "../billing/invoice.ts";
import type { MeterConcurrency } from "../http/gateway.ts";
import type { Account } from "../state/account.ts";
import { formatQuantity } from "../usage/quantity.ts";
import type { DeliveryAttempt, WaitingDelivery } from "../webhooks/delivery.ts";
import { type Conduct, PROMPT_CONDUCT } from "../webhooks/delivery-conduct.ts";
import type { Fault } from "./faults.ts";
import { at, type Cell, relative, table } from "./html.ts";
import { usageTotals } from "./inspection.ts";

/** All that the page is made of. */
export interface PageView {
  readonly account: Account;
  readonly nowMs: number;
  readonly faults: { readonly rules: readonly Fault[]; readonly struck: number };
  readonly answered: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly concurrency: MeterConcurrency;
  readonly conduct: Conduct;
  readonly waiting: readonly WaitingDelivery[];
  readonly attempts: readonly DeliveryAttempt[];
}

export interface Section {
  /** Also the name that links lead to. */
  readonly title: string;
  /** How many there are, for the overview; undefined where a count says nothing. */
  readonly count?: number;
  readonly html: string;
}

const stamp = (unixSeconds: number): string => at(unixSeconds * 1_000);

/** What goes wrong because the simulator was told so. */
export function faultSection({ faults, concurrency, conduct, account }: PageView): Section {
  const rows: Cell[][] = faults.rules.map(({ route, kind, next, rate, ...more }) => [
    route,
    kind,
    next !== undefined ? `the next ${next}` : rate === undefined ? "all" : `${rate * 100} % of requests`,
    wordsOf(more),
  ]);
  if (concurrency.enabled) {
    rows.push(["POST /v1/billing/meter_events", "conflict", "at the same time", `each held ${concurrency.holdMs} ms`]);
  }
  const odd = Object.entries(conduct).filter(([key, value]) => Reflect.get(PROMPT_CONDUCT, key) !== value);
  if (odd.length > 0) rows.push(["webhooks", "delivery", "all", wordsOf(Object.fromEntries(odd))]);
  for (const payer of account.failingPayers) {
    rows.push(["payments", "fail", payer === "*" ? "of all customers" : `of ${payer}`, ""]);
  }
  const html = table(["where", "what", "which", "how"], rows);
  return { title: "Faults in force", count: rows.length, html: `${html}<p>Struck so far: ${faults.struck}.</p>` };
}

function wordsOf(fields: object): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

export function meterSection({ account }: PageView): Section {
  const totals = usageTotals(account);
  const meters = [...account.meters.values()].map((meter) => {
    const own = [...account.usage.totals()].filter(({ meterId }) => meterId === meter.id);
    const sum = formatQuantity(own.reduce((total, one) => total + one.total, 0n));
    return [meter.event_name, sum, own.length, meter.default_aggregation.formula, meter.status, meter.id];
  });
  const sums = totals.map((one) => [one.event_name, one.customer, one.sum]);
  return {
    title: "Meters and sums",
    count: meters.length,
    html: `${table(["event name", "sum counted", "customers", "formula", "status", "id"], meters)}
<h3>By customer</h3>${table(["event name", "customer", "sum counted"], sums)}`,
  };
}

export function draftSection({ account, nowMs }: PageView): Section {
  const drafts = [...account.invoices.values()].filter(({ status }) => status === "draft");
  const rows = drafts.map((invoice) => {
    const due = account.schedule.dueMs(`finalize ${invoice.id}`);
    return [
      invoice.id,
      invoice.customer,
      `${invoiceTotal(account, invoice)} ${invoice.currency}`,
      `${stamp(invoice.period_start)} to ${stamp(invoice.period_end)}`,
      due === undefined ? "not by itself" : relative(due, nowMs),
      invoice.webhooks_delivered_at === null ? "not answered" : stamp(invoice.webhooks_delivered_at),
    ];
  });
  const columns = ["invoice", "customer", "comes to, so far", "period", "finalizes", "webhooks answered"];
  return { title: "Drafts", count: rows.length, html: table(columns, rows) };
}

export function meterEventSection({ account, nowMs }: PageView): Section {
  const { events } = account.usage;
  const rows = events.map(({ object, customerId, value, receivedMs, fate }) => [
    relative(receivedMs, nowMs),
    object.event_name,
    customerId,
    formatQuantity(value),
    stamp(object.timestamp),
    object.identifier,
    fate,
  ]);
  const columns = ["received", "event name", "customer", "value", "timestamp", "identifier", "fate"];
  return { title: "Meter events", count: events.length, html: table(columns, rows) };
}

/** The stream's sessions, what became of the events taken unchecked, and what was told of them. */
export function streamSection({ account, nowMs }: PageView): Section {
  const sessions = [...account.sessions.values()].map(({ expiresMs }) => [
    at(expiresMs),
    expiresMs > nowMs ? "valid" : "expired",
  ]);
  const thin = [...account.thinEvents.values()].map(({ id, type, created, related_object: about }) => [
    relative(Date.parse(created), nowMs),
    type,
    id,
    about?.id,
  ]);
  const waiting = [...account.unvalidated.windows.values()].reduce((sum, window) => sum + window.length, 0);
  return {
    title: "Streams",
    count: account.unvalidated.counts.taken,
    html: `<p>Events: ${wordsOf({ ...account.unvalidated.counts, waiting })}.</p>
${table(["session until", "status"], sessions)}
<h3>Thin events: ${thin.length}</h3>${table(["made", "type", "event", "about"], thin)}`,
  };
}

export function customerSection({ account }: PageView): Section {
  const customers = [...account.customers.values()].filter(({ deleted }) => !deleted);
  const rows = customers.map(({ id, name, email, metadata, created }) => [
    id,
    name,
    email,
    wordsOf(metadata),
    stamp(created),
  ]);
  return {
    title: "Customers",
    count: rows.length,
    html: table(["customer", "name", "email", "metadata", "created"], rows),
  };
}

export function subscriptionSection({ account, nowMs }: PageView): Section {
  const subscriptions = [...account.subscriptions.values()];
  const rows = subscriptions.flatMap((one) =>
    one.items.map((item) => [
      one.id,
      one.customer,
      one.status,
      item.price.recurring?.usage_type ?? "",
      `${stamp(item.current_period_start)} to ${stamp(item.current_period_end)}`,
      one.status === "canceled" ? "never" : relative(item.current_period_end * 1_000, nowMs),
    ]),
  );
  const columns = ["subscription", "customer", "status", "usage", "current period", "renews"];
  return { title: "Subscriptions", count: subscriptions.length, html: table(columns, rows) };
}

export function invoiceSection({ account }: PageView): Section {
  const invoices = [...account.invoices.values()].filter(({ status }) => status !== "draft");
  const rows = invoices.map((invoice) => [
    invoice.number ?? invoice.id,
    invoice.customer,
    invoice.status,
    `${invoiceTotal(account, invoice)} ${invoice.currency}`,
    `${stamp(invoice.period_start)} to ${stamp(invoice.period_end)}`,
    invoice.transitions.finalized_at === null ? "" : stamp(invoice.transitions.finalized_at),
  ]);
  const columns = ["invoice", "customer", "status", "total", "period", "finalized"];
  return { title: "Invoices", count: rows.length, html: table(columns, rows) };
}

/** Where events go, what waits, what was given up, and the last attempts. */
export function webhookSection({ account, nowMs, waiting, attempts }: PageView): Section {
  const endpoints = [...account.endpoints.values()].map(({ id, url, status, enabled_events: types, rolled }) => [
    id,
    url,
    types.join(", "),
    status,
    rolled === null || rolled.untilMs <= nowMs ? "one" : `two, ${relative(rolled.untilMs, nowMs)} one`,
  ]);
  const waits = waiting.map(({ delivery: { event, endpoint }, attempts: made, dueMs }) => [
    event.id,
    event.type,
    endpoint.url,
    made,
    relative(Math.max(dueMs, nowMs), nowMs),
  ]);
  const waitingFor = new Set(waiting.map(({ delivery }) => delivery.event.id));
  const failed = [...account.events.values()]
    .filter((event) => event.pending_webhooks > 0 && !waitingFor.has(event.id))
    .map((event) => [event.id, event.type, stamp(event.created), event.pending_webhooks]);
  const log = attempts.map(({ event, type, url, status, atMs }) => [at(atMs), event, type, url, status ?? "no answer"]);
  return {
    title: "Webhooks",
    count: endpoints.length,
    html: `${table(["endpoint", "url", "types", "status", "secrets"], endpoints)}
<h3>Waiting: ${waits.length}</h3>${table(["event", "type", "url", "attempts", "next"], waits)}
<h3>Given up: ${failed.length}</h3>${table(["event", "type", "created", "endpoints without it"], failed)}
<h3>Attempts</h3>${table(["at", "event", "type", "url", "answer"], log)}`,
  };
}

export function eventSection({ account, nowMs }: PageView): Section {
  const rows = [...account.events.values()].map(({ id, type, created, data: { object }, request }) => [
    relative(created * 1_000, nowMs),
    type,
    id,
    "id" in object ? String(object.id) : "",
    request.id ?? "time",
  ]);
  return { title: "Events", count: rows.length, html: table(["made", "type", "event", "about", "cause"], rows) };
}

export function requestSection({ answered }: PageView): Section {
  const rows = Object.entries(answered).map(([route, counts]) => [
    route,
    Object.entries(counts)
      .map(([status, count]) => `${status}: ${count}`)
      .join(", "),
  ]);
  return { title: "Requests answered", html: table(["route", "answers by status"], rows) };
}

export function settingSection({ account }: PageView): Section {
  const rows = Object.entries(account.settings).map(([name, value]) => [name, String(value), spanOf(name, value)]);
  return { title: "Settings", html: table(["setting", "value", ""], rows.toReversed()) };
}

function spanOf(name: string, value: unknown): string {
  return name.endsWith("Ms") && typeof value === "number" && value > 0 ? relative(value, 0).replace("in ", "") : "";
}

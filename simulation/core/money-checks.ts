// Rules about the way to Stripe, looked at whenever something is frozen, sent or counted, and in the end.

import type { PlannedReport, Report } from "../../src/domain/report.ts";
import { EVENT_NAMES } from "../catalog.ts";
import type { History } from "./history.ts";
import type { Machine } from "./machine.ts";
import type { Billing } from "./model/billing.ts";
import type { ModelLedger, WindowRow } from "./model/ledger.ts";
import type { ModelOutbox, OutboxWatcher } from "./model/outbox.ts";
import type { DriftRow, ModelReconciliation } from "./model/reconciliation.ts";
import type { ReportRow } from "./model/report-row.ts";
import type { ModelStripe, StripeWatcher } from "./model/stripe.ts";
import type { SinkWatcher } from "./money-ports.ts";
import type { Oracle } from "./oracle.ts";
import type { Scheduler } from "./scheduler.ts";
import { isInDrift, waitingForAPerson } from "./unsettled.ts";

/** What the service knows and what is the case, in the end. */
export interface Books {
  readonly ledger: ModelLedger;
  readonly outbox: ModelOutbox;
  readonly billing: Billing;
  readonly stripe: ModelStripe;
  readonly reconciliation: ModelReconciliation;
}

type Span = Pick<DriftRow, "stripeCustomerId" | "eventName" | "startMs" | "endMs">;

/** Kinds of reports that planning places: they may not go into a period whose invoice is final. */
const PLACED = new Set(["usage", "retry", "carry"]);

export class MoneyChecks implements OutboxWatcher, SinkWatcher, StripeWatcher {
  readonly #oracle: Oracle;
  readonly #history: History;
  readonly #scheduler: Scheduler;
  readonly #boundaries: ReadonlyMap<string, readonly number[]>;
  readonly #inFlight = new Set<string>();
  /** Told of each send that begins. */
  onSend: (machine: Machine) => void = () => {};
  #leader = "";
  #leadsSinceMs = 0;

  constructor(
    oracle: Oracle,
    history: History,
    scheduler: Scheduler,
    boundaries: ReadonlyMap<string, readonly number[]>,
  ) {
    this.#oracle = oracle;
    this.#history = history;
    this.#scheduler = scheduler;
    this.#boundaries = boundaries;
  }

  leads(epoch: bigint, holder: string): void {
    this.#history.note(() => `postgres: the lease goes to ${holder}, epoch ${epoch}`, holder);
    this.#leader = holder;
    this.#leadsSinceMs = this.#scheduler.nowMs;
  }

  frozen(report: PlannedReport, window: WindowRow, periodClosed: boolean, held: bigint): void {
    const { identifier, kind, value, customerId, timestampMs, late, heldFor } = report;
    this.#history.note(
      () =>
        `outbox: freezes ${kind} ${identifier}: ${value} of ${nameOf(report)} for ${report.stripeCustomerId} at ${timestampMs}${late ? ", late" : ""}${heldFor === undefined ? "" : `, held: ${heldFor}`}`,
      identifier,
      nameOf(report),
    );
    const boundaries = this.#boundaries.get(customerId) ?? [];
    const { windowStartMs, windowEndMs } = window;
    if (boundaries.some((ms) => windowStartMs < ms && ms < windowEndMs))
      this.#oracle.fail(
        "boundary",
        `the window of ${identifier} spans a period's boundary`,
        identifier,
        nameOf(report),
      );
    const periodOf = (timeMs: number) => boundaries.filter((ms) => ms <= timeMs).length;
    if (!late && kind === "usage" && periodOf(timestampMs) !== periodOf(windowStartMs))
      this.#oracle.fail(
        "boundary",
        `${identifier} is stamped in another period than its window's`,
        identifier,
        nameOf(report),
      );
    if (kind === "usage" && value < 0n && heldFor === undefined && held > 0n)
      this.#oracle.fail(
        "taken back",
        `${identifier} takes back ${value}, while ${held} of its window was never counted`,
        identifier,
        nameOf(report),
      );
    if (PLACED.has(kind) && heldFor === undefined && periodClosed)
      this.#oracle.fail(
        "closed period",
        `${identifier} is planned into a period whose invoice is final, or as good as`,
        identifier,
        nameOf(report),
      );
  }

  begins(machine: Machine, lane: string): void {
    const { name } = machine;
    this.onSend(machine);
    this.#history.note(() => `${name}: sends ${lane}`, lane);
    const key = `${name} ${lane}`;
    if (this.#inFlight.has(key))
      this.#oracle.fail("one at a time", `${name} sends side by side what must go one by one: ${lane}`, lane);
    this.#inFlight.add(key);
    // Clocks of two machines do not count quite alike.
    if (this.#leader !== name && this.#scheduler.nowMs - this.#leadsSinceMs > 1_000)
      this.#oracle.fail("one leader", `${name} sends while ${this.#leader} leads`, lane);
  }

  ends({ name }: Machine, lane: string): void {
    this.#inFlight.delete(`${name} ${lane}`);
  }

  counted(report: Report): void {
    this.#history.note(() => `stripe: counts ${report.identifier}: ${report.value}`, report.identifier, nameOf(report));
  }

  dropped(report: Report): void {
    this.#history.note(
      () => `stripe: takes ${report.identifier} and does not count it`,
      report.identifier,
      nameOf(report),
    );
  }

  contradicted(message: string, report: Report): void {
    this.#oracle.fail("identifier", message, report.identifier, nameOf(report));
  }

  /** In the end, when nothing is under way: what was recorded is where the service says that it is. */
  atTheEnd(books: Books): void {
    const { ledger, outbox, billing, stripe, reconciliation } = books;
    const drifts = waitingForAPerson(books);
    const leftOpen = [...drifts, ...spansOnce(reconciliation.drifts.filter(({ state }) => state === "invoiced"))];
    const reports = [...outbox.reports.values()].filter(({ state }) => state !== "superseded");
    const billable = this.#oracle.billable();
    for (const customerId of this.#boundaries.keys()) {
      for (const eventName of EVENT_NAMES) {
        const name = `${customerId} ${eventName}`;
        const own = reports.filter((r) => r.customerId === customerId && r.eventName === eventName);
        this.#same("double entry", name, "recorded", billable.get(name) ?? 0n, "in reports", sumOf(own));
        const payers = billing.payersOf(customerId);
        const open = leftOpen.filter((d) => payers.includes(d.stripeCustomerId) && d.eventName === eventName);
        const believed = own.filter((r) => r.kind !== "unbilled" && r.state === "accepted" && !isInDrift(r, open));
        // What waits for a person, or was left to invoices, is left aside on both sides.
        const aside = open.reduce((sum, drift) => sum + stripe.total(drift.stripeCustomerId, eventName, drift), 0n);
        const counted = payers.reduce((sum, payer) => sum + stripe.total(payer, eventName), 0n) - aside;
        for (const payer of payers) this.#notCredited(name, payer, own);
        this.#same("stripe", name, "Stripe counted", counted, "is believed", sumOf(believed));
      }
    }
    for (const window of ledger.windows.values()) {
      const { customerId, eventName, windowStartMs, payload } = window;
      const own = reports.filter(
        (r) =>
          r.customerId === customerId &&
          r.eventName === eventName &&
          r.windowStartMs === windowStartMs &&
          r.payload === payload,
      );
      this.#same(
        "windows",
        `${customerId} ${eventName}`,
        "accepted in a window",
        window.accepted,
        "in its reports",
        sumOf(own.filter(({ state }) => state === "accepted")),
      );
    }
    for (const { billed, stripeCustomerId, eventName, startMs, endMs } of billing.periods) {
      if (
        billed === undefined ||
        drifts.some((d) => d.stripeCustomerId === stripeCustomerId && d.eventName === eventName)
      )
        continue;
      const inside = reports.filter(
        (r) =>
          r.state === "accepted" &&
          r.stripeCustomerId === stripeCustomerId &&
          r.eventName === eventName &&
          startMs <= r.timestampMs &&
          r.timestampMs < endMs,
      );
      // What Stripe has too much of in a minute that was left to invoices is billed, and listed for a person: nothing is taken back by itself.
      const mayExceed = reconciliation.drifts.some(
        (d) =>
          d.state === "invoiced" &&
          d.counted > d.expected &&
          d.stripeCustomerId === stripeCustomerId &&
          d.eventName === eventName &&
          d.startMs < endMs &&
          d.endMs > startMs,
      );
      if (mayExceed && billed > sumOf(inside)) continue;
      this.#same(
        "invoice",
        `${billing.customerOf(stripeCustomerId)} ${eventName}`,
        "an invoice bills",
        billed,
        "is believed of its period",
        sumOf(inside),
      );
    }
  }

  /** In sum nobody is credited what it was not billed; what is held of it may be what it was to be billed. */
  #notCredited(name: string, payer: string, reports: readonly ReportRow[]): void {
    const its = reports.filter(({ stripeCustomerId }) => stripeCustomerId === payer);
    const sum = sumOf(its.filter(({ state }) => state === "accepted"));
    if (sum < 0n && !its.some(({ state, value }) => state === "held" && value > 0n))
      this.#oracle.fail("taken back", `${payer} is credited ${-sum} of ${name}, which it was not billed`, name);
  }

  #same(checker: string, name: string, what: string, a: bigint, other: string, b: bigint): void {
    if (a !== b) this.#oracle.fail(checker, `${name}: ${what} ${a}, ${other} ${b}`, name);
  }
}

function nameOf({ customerId, eventName }: Pick<Report, "customerId" | "eventName">): string {
  return `${customerId} ${eventName}`;
}

/** A span may have been looked at more than once. */
function spansOnce(spans: readonly Span[]): readonly Span[] {
  return [
    ...new Map(
      spans.map((span) => [JSON.stringify([span.stripeCustomerId, span.eventName, span.startMs]), span]),
    ).values(),
  ];
}

function sumOf(reports: readonly ReportRow[]): bigint {
  return reports.reduce((sum, { value }) => sum + value, 0n);
}

// Stripe's meters, as far as they matter here: what is counted, for how long an identifier is known, sums that lag, invoices that are drafts
// for an hour. Remembers all that it was ever sent, and says what must never be: an identifier with two contents, or counted twice.
import type { InvoiceState } from "../../../src/app/ports/accounts.ts";
import type { SinkName } from "../../../src/app/ports/reports.ts";
import type { Report, SinkOutcome } from "../../../src/domain/report.ts";
import { DAY_MS, type Interval, MINUTE_MS } from "../../../src/domain/window.ts";
import type { Random } from "../../random.ts";

const HOUR_MS = 60 * MINUTE_MS;
/** How long an identifier is known; after that an event under it counts once more. */
const IDENTIFIER_MS = DAY_MS;
/** A draft becomes final so long after its period's end. */
const GRACE_MS = HOUR_MS;
const ALL_TIME: Interval = { startMs: Number.NEGATIVE_INFINITY, endMs: Number.POSITIVE_INFINITY };

interface CountedEvent {
  readonly report: Report;
  readonly receivedMs: number;
  /** When sums show it. */
  readonly visibleMs: number;
  cancelled: boolean;
}

export interface Invoice extends Interval {
  readonly invoiceId: string;
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly finalizesMs: number;
  /** Undefined while it is a draft. */
  billed: bigint | undefined;
}

/** How Stripe treats events, drawn from the seed. */
export interface StripeTraits {
  readonly sumLagMs: number;
  /** Shares of events: taken and not counted; refused for good. */
  readonly droppedShare: number;
  readonly refusedShare: number;
  readonly throttledShare: number;
  /** Whether an event that was dropped burns its identifier. */
  readonly burns: boolean;
}

export interface StripeWatcher {
  counted(report: Report): void;
  contradicted(message: string, report: Report): void;
  dropped(report: Report): void;
}

export class ModelStripe {
  readonly events: CountedEvent[] = [];
  readonly invoices = new Map<string, Invoice>();
  readonly #nowMs: () => number;
  readonly #random: Random;
  readonly #watcher: StripeWatcher;
  readonly #traits: StripeTraits;
  /** What was first sent under each identifier. */
  readonly #contents = new Map<string, string>();
  /** When each identifier was last taken. */
  readonly #known = new Map<string, number>();
  readonly #refused = new Map<string, boolean>();
  #calm = false;

  constructor(nowMs: () => number, random: Random, traits: StripeTraits, watcher: StripeWatcher) {
    this.#nowMs = nowMs;
    this.#random = random;
    this.#traits = traits;
    this.#watcher = watcher;
  }

  clearUp(): void {
    this.#calm = true;
  }

  /** One request. */
  send(sink: SinkName, reports: readonly Report[]): readonly SinkOutcome[] {
    const { throttledShare } = this.#traits;
    if (this.#happens(throttledShare)) return reports.map(() => ({ kind: "throttled", message: "429" }));
    return reports.map((report) => (report.kind === "cancel" ? this.#cancel(report) : this.#event(sink, report)));
  }

  #happens(share: number): boolean {
    return this.#random.chance(this.#calm ? 0 : share);
  }

  #event(sink: SinkName, report: Report): SinkOutcome {
    const { identifier, timestampMs } = report;
    const { droppedShare, burns, sumLagMs } = this.#traits;
    const now = this.#nowMs();
    const content = contentOf(report);
    const first = this.#contents.get(identifier);
    if (first !== undefined && first !== content)
      this.#watcher.contradicted(`${identifier} was sent as ${first}, and as ${content}`, report);
    this.#contents.set(identifier, content);
    const taken: SinkOutcome = { kind: sink === "v1" ? "accepted" : "taken" };
    const knownMs = this.#known.get(identifier);
    if (knownMs !== undefined && now - knownMs < IDENTIFIER_MS) return sink === "v1" ? { kind: "duplicate" } : taken;
    if (timestampMs < now - 35 * DAY_MS || timestampMs > now + 5 * MINUTE_MS)
      return { kind: "refused", code: "timestamp", message: "" };
    if (sink === "v1" && this.#refuses(identifier)) return { kind: "refused", code: "other", message: "" };
    if (this.#happens(droppedShare)) {
      if (burns) this.#known.set(identifier, now);
      this.#watcher.dropped(report);
      return taken;
    }
    if (this.events.some((event) => event.report.identifier === identifier))
      this.#watcher.contradicted(`${identifier} is counted twice`, report);
    this.#known.set(identifier, now);
    this.events.push({ report, receivedMs: now, visibleMs: now + sumLagMs * this.#random.unit(), cancelled: false });
    this.#watcher.counted(report);
    return taken;
  }

  /** What is wrong with an event stays wrong with it. */
  #refuses(identifier: string): boolean {
    const before = this.#refused.get(identifier);
    if (before !== undefined) return before;
    const refuses = this.#happens(this.#traits.refusedShare);
    this.#refused.set(identifier, refuses);
    return refuses;
  }

  #cancel({ origin }: Report): SinkOutcome {
    const event = this.events.find(({ report }) => report.identifier === origin);
    if (event === undefined || this.#nowMs() - event.receivedMs >= DAY_MS)
      return { kind: "refused", code: "cannot_cancel", message: "" };
    if (event.cancelled) return { kind: "duplicate" };
    event.cancelled = true;
    return { kind: "accepted" };
  }

  /** What Stripe says that it counted, on whole minutes. */
  sum(stripeCustomerId: string, eventName: string, { startMs, endMs }: Interval): bigint {
    const now = this.#nowMs();
    return this.#total(stripeCustomerId, eventName, startMs, endMs, ({ visibleMs }) => visibleMs <= now);
  }

  hours(stripeCustomerId: string, eventName: string, { startMs, endMs }: Interval): ReadonlyMap<number, bigint> {
    const sums = new Map<number, bigint>();
    for (let ms = startMs; ms < endMs; ms += HOUR_MS) {
      const sum = this.sum(stripeCustomerId, eventName, { startMs: ms, endMs: ms + HOUR_MS });
      if (sum !== 0n) sums.set(ms, sum);
    }
    return sums;
  }

  /** All that it counted, in all time or over some, whether sums show it or not. */
  total(stripeCustomerId: string, eventName: string, { startMs, endMs }: Interval = ALL_TIME): bigint {
    return this.#total(stripeCustomerId, eventName, startMs, endMs, () => true);
  }

  #total(
    stripeCustomerId: string,
    eventName: string,
    startMs: number,
    endMs: number,
    shows: (event: CountedEvent) => boolean,
  ): bigint {
    let sum = 0n;
    for (const event of this.events) {
      const { report, cancelled } = event;
      if (cancelled || report.stripeCustomerId !== stripeCustomerId || report.eventName !== eventName) continue;
      if (startMs <= report.timestampMs && report.timestampMs < endMs && shows(event)) sum += report.value;
    }
    return sum;
  }

  /** A period ends: its invoice is a draft. */
  draft(stripeCustomerId: string, eventName: string, period: Interval): Invoice {
    const invoiceId = `in_${stripeCustomerId}_${eventName}_${period.startMs}`;
    const invoice = {
      invoiceId,
      stripeCustomerId,
      eventName,
      ...period,
      finalizesMs: this.#nowMs() + GRACE_MS,
      billed: undefined,
    };
    this.invoices.set(invoiceId, invoice);
    return invoice;
  }

  /** An invoice as it is now: a line of one meter. */
  invoiceState(invoiceId: string): InvoiceState | undefined {
    const invoice = this.invoices.get(invoiceId);
    if (invoice === undefined) return undefined;
    const { stripeCustomerId, eventName, startMs, endMs, finalizesMs, billed } = invoice;
    const isFinal = billed !== undefined;
    const quantity = billed ?? this.#total(stripeCustomerId, eventName, startMs, endMs, () => true);
    return {
      invoiceId,
      stripeCustomerId,
      subscriptionId: `sub_${stripeCustomerId}`,
      status: isFinal ? "open" : "draft",
      finalizesMs: isFinal ? undefined : finalizesMs,
      finalizedMs: isFinal ? finalizesMs : undefined,
      lines: [{ subscriptionItem: `si_${eventName}`, eventName, startMs, endMs, quantity }],
    };
  }

  /** The draft becomes final: it bills what was counted by now, and never more. */
  finalize(invoice: Invoice): void {
    const { stripeCustomerId, eventName, startMs, endMs } = invoice;
    const counted = this.#total(stripeCustomerId, eventName, startMs, endMs, () => true);
    invoice.billed = counted > 0n ? counted : 0n;
  }
}

function contentOf({ kind, origin, stripeCustomerId, eventName, payload, value, timestampMs }: Report): string {
  return JSON.stringify([
    kind === "cancel" ? origin : "",
    stripeCustomerId,
    eventName,
    payload,
    `${value}`,
    timestampMs,
  ]);
}

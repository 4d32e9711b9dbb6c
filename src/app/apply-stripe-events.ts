// The worker that applies stored webhook events. An event only says where to look: the object is fetched afresh, so any order and any
// repetition of the same events ends in the same state.
import type { Accounts, ClaimedStripeEvent, InvoiceState, StripeEventInbox, StripeObjects } from "./ports/accounts.ts";
import type { Clock } from "./ports/clock.ts";
import type { Logger } from "./ports/logger.ts";
import type { FlushRequests } from "./ports/reports.ts";

type Apply = (deps: ApplyStripeEventsDependencies, event: ClaimedStripeEvent, signal: AbortSignal) => Promise<void>;

/** What each type of event leads to. */
const APPLIED: ReadonlyMap<string, Apply> = new Map([
  ["customer.subscription.created", applySubscription],
  ["customer.subscription.updated", applySubscription],
  ["customer.subscription.deleted", applySubscription],
  ["customer.subscription.paused", applySubscription],
  ["customer.subscription.resumed", applySubscription],
  ["invoice.created", applyNewInvoice],
  ["invoice.finalized", applyInvoice],
  ["invoice.paid", applyInvoice],
  ["invoice.payment_failed", applyFailedPayment],
  ["invoice.voided", applyInvoice],
  ["invoice.marked_uncollectible", applyInvoice],
]);

/** Events that tell of usage that Stripe threw away: kept until a version comes that applies them, since Stripe forgets them after 30 days. */
const KEPT_TYPES = ["v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"];

/** Types that this worker applies. */
export const APPLIED_EVENT_TYPES: readonly string[] = [...APPLIED.keys()];

/** Types worth storing: to be applied now, or by a later version. Others are answered and forgotten. */
export const STORED_EVENT_TYPES: ReadonlySet<string> = new Set([...APPLIED_EVENT_TYPES, ...KEPT_TYPES]);

/** Events applied at once: each waits mostly for Stripe, whose reads are limited to 100 a second. Each holds one database connection. */
const CONCURRENCY = 4;
/** Longer than an event takes: past it another worker applies it too, to the same effect. */
const LEASE_MS = 120_000;
/** Looks for events that another process stored, or that are due again. */
const POLL_MS = 500;
/** The first retry comes after 5 s, each later one four times as late, none later than 6 h: about 20 h in all. */
const ATTEMPTS_MAX = 10;
const FIRST_RETRY_MS = 5_000;
const RETRY_MAX_MS = 6 * 3_600_000;
/** As long as Stripe can deliver an event again. */
const FORGET_AFTER_MS = 35 * 86_400_000;
const FORGET_EVERY_MS = 60_000;
const FORGET_LIMIT = 1_000;

export interface ApplyStripeEventsDependencies {
  readonly inbox: StripeEventInbox;
  readonly objects: StripeObjects;
  readonly accounts: Accounts;
  readonly flushRequests: Pick<FlushRequests, "request">;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class ApplyStripeEvents {
  readonly #deps: ApplyStripeEventsDependencies;
  #woken = false;
  #endPause = () => {};

  constructor(deps: ApplyStripeEventsDependencies) {
    this.#deps = deps;
  }

  /** An event was stored in this process: look now rather than at the next poll. */
  wake(): void {
    this.#woken = true;
    this.#endPause();
  }

  /** Applies events as they come, until `signal` aborts; then gives back what it holds and resolves. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { inbox, clock, logger } = this.#deps;
    signal.addEventListener("abort", () => this.wake(), { once: true });
    let forgetAtMs = clock.monotonicMs();
    let away = false;
    while (!signal.aborted) {
      this.#woken = false;
      try {
        if (clock.monotonicMs() >= forgetAtMs) {
          forgetAtMs += FORGET_EVERY_MS;
          await inbox.forgetApplied(FORGET_AFTER_MS, FORGET_LIMIT);
        }
        const applied = await this.applyDue(signal);
        away = false;
        if (applied > 0) continue;
      } catch (err) {
        // One line an outage.
        if (!away) logger.warn({ err }, "stripe events cannot be read now; looking again until they can");
        away = true;
      }
      await this.#pause();
    }
  }

  /** Applies one round of due events, a few at once; returns how many it tried. Rejects when the inbox cannot be read. */
  async applyDue(signal: AbortSignal): Promise<number> {
    const events = await this.#deps.inbox.claim(APPLIED_EVENT_TYPES, CONCURRENCY, LEASE_MS);
    await Promise.all(events.map((event) => this.#settle(event, signal)));
    return events.length;
  }

  /** Never rejects: an event that could not even be settled comes again when its lease runs out. */
  async #settle(event: ClaimedStripeEvent, signal: AbortSignal): Promise<void> {
    const { inbox, logger } = this.#deps;
    const { eventId, type, objectId, attempts } = event;
    const ids = { eventId, type, objectId, attempts };
    try {
      try {
        await APPLIED.get(type)?.(this.#deps, event, signal);
      } catch (err) {
        await this.#fail(event, err, signal);
        return;
      }
      await inbox.applied(eventId);
      logger.debug(ids, "stripe event applied");
    } catch (err) {
      logger.warn({ ...ids, err }, "stripe event could not be settled; it comes again when its lease runs out");
    }
  }

  async #fail(event: ClaimedStripeEvent, err: unknown, signal: AbortSignal): Promise<void> {
    const { inbox, logger } = this.#deps;
    const { eventId, type, objectId, attempts } = event;
    const ids = { eventId, type, objectId, attempts };
    if (signal.aborted) {
      await inbox.failed(eventId, "stopped while it was applied", 0);
      return;
    }
    const message = err instanceof Error ? err.message : String(err);
    const retryAfterMs = attempts < ATTEMPTS_MAX ? retryDelayMs(attempts) : undefined;
    await inbox.failed(eventId, message, retryAfterMs);
    if (retryAfterMs !== undefined)
      logger.warn({ ...ids, retryAfterMs, err }, "stripe event not applied; trying again later");
    else
      logger.error(
        { ...ids, err },
        "stripe event given up: the account may differ from Stripe's until it is applied by hand",
      );
  }

  async #pause(): Promise<void> {
    if (this.#woken) return;
    const pause = new AbortController();
    this.#endPause = () => pause.abort();
    await this.#deps.clock.sleep(POLL_MS, pause.signal);
    this.#endPause = () => {};
  }
}

function retryDelayMs(attempts: number): number {
  return Math.min(FIRST_RETRY_MS * 4 ** (attempts - 1), RETRY_MAX_MS);
}

function applySubscription(
  deps: ApplyStripeEventsDependencies,
  event: ClaimedStripeEvent,
  signal: AbortSignal,
): Promise<void> {
  return refreshSubscription(deps, event.objectId, signal);
}

async function applyInvoice(
  deps: ApplyStripeEventsDependencies,
  event: ClaimedStripeEvent,
  signal: AbortSignal,
): Promise<void> {
  await refreshInvoice(deps, event.objectId, undefined, signal);
}

async function applyFailedPayment(
  deps: ApplyStripeEventsDependencies,
  event: ClaimedStripeEvent,
  signal: AbortSignal,
): Promise<void> {
  await refreshInvoice(deps, event.objectId, event.createdMs, signal);
}

/**
 * A period ended: its invoice is a draft for an hour or so, and counts what is reported until it is finalized. Each step may be
 * repeated; a crash after any of them brings the event again.
 *
 * 1. the invoice, which names the subscription; 2. the subscription, whose new period cuts what is pending; 3. a flush, now.
 */
async function applyNewInvoice(
  deps: ApplyStripeEventsDependencies,
  event: ClaimedStripeEvent,
  signal: AbortSignal,
): Promise<void> {
  const invoice = await refreshInvoice(deps, event.objectId, undefined, signal); // 1
  if (invoice === undefined || invoice.subscriptionId === "") return;
  await refreshSubscription(deps, invoice.subscriptionId, signal); // 2
  await deps.flushRequests.request(await deps.accounts.customerIdOf(invoice.stripeCustomerId)); // 3
}

/** Stripe knows no such object: it was deleted (with a test clock, say), and there is nothing to be said of it. */
async function refreshSubscription(
  { accounts, objects }: ApplyStripeEventsDependencies,
  subscriptionId: string,
  signal: AbortSignal,
): Promise<void> {
  await accounts.exclusively(subscriptionId, async (writer) => {
    const state = await objects.subscription(subscriptionId, signal);
    if (state !== undefined) await writer.saveSubscription(state);
  });
}

async function refreshInvoice(
  { accounts, objects }: ApplyStripeEventsDependencies,
  invoiceId: string,
  paymentFailedMs: number | undefined,
  signal: AbortSignal,
): Promise<InvoiceState | undefined> {
  return accounts.exclusively(invoiceId, async (writer) => {
    const state = await objects.invoice(invoiceId, signal);
    if (state !== undefined) await writer.saveInvoice(state, paymentFailedMs);
    return state;
  });
}

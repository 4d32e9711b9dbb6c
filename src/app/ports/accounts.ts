// Accounts: what Stripe says about a customer. Events are stored first, applied later, in any order.
import type { CustomerClaim } from "../../domain/customer-claim.ts";
import type { MeteredLine } from "../../domain/metered-lines.ts";
import type { Interval } from "../../domain/window.ts";

/** A webhook's event, verified, as it came. */
export interface StoredStripeEvent {
  readonly eventId: string;
  readonly type: string;
  /** Whole seconds, as milliseconds. Never used for order. */
  readonly createdMs: number;
  /** Id of data.object (of related_object in a thin event), for example "sub_..." or "in_..."; empty where it has none. */
  readonly objectId: string;
  /** The raw body. */
  readonly payload: string;
}

/** An event in the hands of one worker. */
export interface ClaimedStripeEvent extends StoredStripeEvent {
  /** Claims, this one included. */
  readonly attempts: number;
}

export interface StripeEventInbox {
  /** Stores an event once by its id; false when it was there already. On disk when it resolves. */
  store(event: StoredStripeEvent): Promise<boolean>;
  /**
   * Up to `limit` events of these types that are due, longest due first; each is leased to the caller for `leaseMs` and comes again
   * after, unless settled. Events of other types stay, for a version that applies them.
   */
  claim(types: readonly string[], limit: number, leaseMs: number): Promise<readonly ClaimedStripeEvent[]>;
  applied(eventId: string): Promise<void>;
  /**
   * Comes again after `retryAfterMs`; undefined means never: it is a dead letter, listed by status. No effect on an event that was
   * settled meanwhile by a worker that had it after this one's lease ran out.
   */
  failed(eventId: string, message: string, retryAfterMs: number | undefined): Promise<void>;
  /** Deletes up to `limit` applied events that came over `ageMs` ago; returns how many. A delivery after that is applied again, to no effect. */
  forgetApplied(ageMs: number, limit: number): Promise<number>;
}

/** Why a delivery is not Stripe's, or not a fresh one. */
export type RefusedSignature = "signature_missing" | "signature_invalid" | "timestamp_too_old" | "timestamp_in_future";

export interface WebhookVerifier {
  /** Undefined when some current secret signed just these bytes lately. Compares in constant time. Never throws. */
  refusal(rawBody: Uint8Array, signatureHeader: string | undefined): RefusedSignature | undefined;
}

/** A subscription as Stripe has it now. */
export interface SubscriptionState {
  readonly subscriptionId: string;
  readonly stripeCustomerId: string;
  readonly status: string;
  /** Of the metered item that ends first, else of the item that ends first; undefined when it has no items. */
  readonly currentPeriod: Interval | undefined;
  /** Starts and ends of every item's current period, and the end of a canceled subscription. Whole seconds, ascending, distinct. */
  readonly boundariesMs: readonly number[];
}

/** An invoice as Stripe has it now. */
export interface InvoiceState {
  readonly invoiceId: string;
  readonly stripeCustomerId: string;
  /** Empty when the invoice is not a subscription's. */
  readonly subscriptionId: string;
  readonly status: string;
  /** When a draft becomes final by itself; undefined where it does not, or is final. */
  readonly finalizesMs: number | undefined;
  /** When it became final; undefined while it is a draft. */
  readonly finalizedMs: number | undefined;
  /** Its lines of metered prices. Of a draft the quantities still follow the meter. */
  readonly lines: readonly MeteredLine[];
}

/** A customer as Stripe has it now. */
export type CustomerState =
  | { readonly deleted: true }
  | {
      readonly deleted: false;
      readonly createdMs: number;
      readonly metadata: Readonly<Record<string, string>>;
    };

/** Reads objects afresh, since events come in any order. Undefined: Stripe has no such object. Rejects when Stripe is away. */
export interface StripeObjects {
  subscription(subscriptionId: string, signal: AbortSignal): Promise<SubscriptionState | undefined>;
  invoice(invoiceId: string, signal: AbortSignal): Promise<InvoiceState | undefined>;
  customer(stripeCustomerId: string, signal: AbortSignal): Promise<CustomerState | undefined>;
}

/** A period over which an invoice bills, or billed, a Stripe customer's usage of a meter. */
export interface PaidPeriod extends Interval {
  readonly stripeCustomerId: string;
  readonly eventName: string;
}

/** A customer that is mapped otherwise than before; undefined where it was not mapped, or is not any more. */
export interface MappingChange {
  readonly customerId: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** What a claim led to. */
export interface ClaimEffect {
  readonly changes: readonly MappingChange[];
  /** The Stripe customer that the claimed id is mapped to now; undefined where there is none, or nothing was claimed. */
  readonly standing: string | undefined;
}

/** Writes inside one transaction. The last write should be the last thing done: it holds locks that the ledger waits for. */
export interface AccountWriter {
  /**
   * Stores a subscription's state. Boundaries that are new cut the customer's rollups and pending windows, in the same transaction,
   * recomputed from raw records; what was already reported is corrected by the next flush.
   */
  saveSubscription(state: SubscriptionState): Promise<void>;
  /**
   * Stores an invoice's state and the periods that its lines bill; `paymentFailedMs` is kept as the earliest ever given. Resolves to the
   * periods that it bills now or did before, for Accounts.periodsChanged.
   */
  saveInvoice(state: InvoiceState, paymentFailedMs: number | undefined): Promise<readonly PaidPeriod[]>;
  /** Forgets an invoice that is known as a draft; no effect on others. Resolves to the periods that it billed. */
  removeDraft(invoiceId: string): Promise<readonly PaidPeriod[]>;
  /**
   * Keeps what a Stripe customer's metadata says, and maps by all that is kept: an operator's word stands against any claim, an older Stripe
   * customer against a younger, a live one against a deleted one. A customer that is mapped takes over every period boundary ever heard
   * of for its Stripe customer, in the same transaction. Any order of claims ends in the same mappings.
   */
  saveClaim(claim: CustomerClaim): Promise<ClaimEffect>;
}

export interface Accounts {
  /**
   * Runs `work` while no other worker anywhere applies the same object, in one transaction: what was fetched inside is still the
   * newest when it is written, and a lost connection writes nothing. Rejects when the turn does not come within 30 s.
   */
  exclusively<T>(objectId: string, work: (writer: AccountWriter) => Promise<T>): Promise<T>;
  /**
   * What follows from periods of which an invoice was written, once that is done: reports of these periods that are not settled learn when
   * the invoice of their time becomes, or became, final; and the periods' ends are boundaries, as a subscription's. Idempotent.
   */
  periodsChanged(periods: readonly PaidPeriod[]): Promise<void>;
  /** Subscriptions known of a Stripe customer, in order. */
  subscriptionsOf(stripeCustomerId: string): Promise<readonly string[]>;
  /** The service's own id of a Stripe customer; the Stripe id itself where none is mapped. */
  customerIdOf(stripeCustomerId: string): Promise<string>;
}

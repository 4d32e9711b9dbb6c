// What setup says of one thing at Stripe.

/** A thing that setup looked at or made. */
export interface SetupItem {
  readonly what: "meter" | "product" | "price" | "webhook endpoint" | "event destination";
  /** What it is found by: event name, lookup key, URL; a product's is what it is called. */
  readonly name: string;
  /** Stripe's id; empty while it is not there. */
  readonly id: string;
  /**
   * `found` as it should be; `created`, `changed` by this run; `would_create`, `would_change` by a run that writes; `cannot_change`: it
   * is not as it should be, or not there, and a person must decide.
   */
  readonly state: "found" | "created" | "changed" | "would_create" | "would_change" | "cannot_change";
  /** What differs and what to do; empty where there is nothing to say. */
  readonly note: string;
  /** Signs what Stripe sends there. Stripe shows it at the creation only. */
  readonly secret?: string | undefined;
}

/** Reads change nothing, so the SDK may repeat them: over some 4 s. */
export const READ = { maxNetworkRetries: 3 };
/** The SDK repeats a write under one idempotency key, so that a lost answer does no harm. */
export const WRITE = { maxNetworkRetries: 3 };

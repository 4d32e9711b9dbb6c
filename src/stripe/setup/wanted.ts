// What `metering stripe setup` is to find or make at Stripe, beside the meters.

/** A metered per-unit price of one Stripe meter. */
export interface WantedPrice {
  /** Of the meter. */
  readonly eventName: string;
  /** Three lower-case letters. */
  readonly currency: string;
  /** Of one unit, in the currency's smallest unit, at most 12 decimal places, no zeros at either end: "0.0003". */
  readonly unitAmountDecimal: string;
  readonly interval: "day" | "week" | "month" | "year";
  /** What the price is found again by; unique in the account. */
  readonly lookupKey: string;
}

/** The "stripe" section of metering.config.json, parsed. What is undefined or empty is left alone. */
export interface StripeSetup {
  /** What the prices are of. There when there are prices. */
  readonly product: { readonly id: string; readonly name: string } | undefined;
  readonly prices: readonly WantedPrice[];
  /** Where Stripe sends snapshot events: the service's /webhooks/stripe. */
  readonly webhookUrl: string | undefined;
  /** Where Stripe sends thin events: the service's /webhooks/stripe/thin. */
  readonly thinWebhookUrl: string | undefined;
}

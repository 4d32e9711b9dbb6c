// The "stripe" section of metering.config.json: what `metering stripe setup` finds or makes at Stripe. Serving needs none of it.
import { z } from "zod";
import type { StripeSetup, WantedPrice } from "../../stripe/setup/wanted.ts";

/** Of a product that none was named for. Stripe lets one choose a product's id: so setup finds its own again, and two runs cannot make two. */
const PRODUCT_ID = "metering";

const PRODUCT = z.strictObject({
  name: z.string().min(1).max(250).describe("Shown on invoices."),
  id: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,100}$/, "must be 1 to 100 of letters, digits, _ and -")
    .default(PRODUCT_ID)
    .describe("Stripe's id of the product: one that you have, or the one to make."),
});

const PRICE = z.strictObject({
  eventName: z.string().min(1).max(100).describe("Of the Stripe meter: an event name that a billing rule feeds."),
  currency: z
    .string()
    .regex(/^[a-z]{3}$/, "must be three lower-case letters")
    .describe("ISO 4217, lower case."),
  unitAmountDecimal: z
    .string()
    .regex(/^\d{1,8}(\.\d{1,12})?$/, "must be a decimal number as text, at most 8 digits and 12 decimal places")
    .describe('Of one unit, in the smallest unit of the currency: "0.0003" cents a token are 3 dollars a million.'),
  interval: z.enum(["day", "week", "month", "year"]).describe("How often it is billed."),
  lookupKey: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .describe("What the price is found again by. Default: metering_<eventName>_<currency>_<interval>."),
});

const WEBHOOK_URL = z
  .string()
  .max(2000)
  .refine(isPublicUrl, "must be an http or https URL without user, password and fragment");

const WEBHOOK = z.strictObject({
  url: WEBHOOK_URL.describe("Where Stripe reaches /webhooks/stripe."),
  thinUrl: WEBHOOK_URL.optional().describe(
    "Where Stripe reaches /webhooks/stripe/thin: reports of usage that it threw away.",
  ),
});

/** The section's schema. */
export const STRIPE_SECTION = z.strictObject({
  product: PRODUCT.optional().describe("What the prices are of. Needed when there are prices."),
  prices: z.array(PRICE).max(1000).default([]),
  webhook: WEBHOOK.optional(),
});

/** What the cross-checks look at, taken from a section that may be wrong elsewhere. */
export const STRIPE_SECTION_NAMES = z.object({
  product: z.unknown().optional(),
  prices: z
    .array(
      z
        .object({
          eventName: z.string().catch(""),
          currency: z.string().catch(""),
          interval: z.string().catch(""),
          lookupKey: z.string().optional().catch(undefined),
        })
        .catch({ eventName: "", currency: "", interval: "", lookupKey: undefined }),
    )
    .catch([]),
  webhook: z.object({ url: z.unknown().optional(), thinUrl: z.unknown().optional() }).catch({}),
});

/** What of the section contradicts itself, or the event names that billing feeds. */
export function stripeSectionProblems(
  { product, prices, webhook }: z.infer<typeof STRIPE_SECTION_NAMES>,
  eventNames: readonly string[],
): string[] {
  const problems: string[] = [];
  if (prices.length > 0 && product === undefined) problems.push("stripe.product: prices need a product");
  const priceOf = new Map<string, number>();
  for (const [index, price] of prices.entries()) {
    const { eventName } = price;
    if (eventName !== "" && !eventNames.includes(eventName))
      problems.push(`stripe.prices[${index}].eventName: no billing rule feeds "${eventName}"`);
    const lookupKey = price.lookupKey ?? defaultLookupKey(price);
    const other = priceOf.get(lookupKey);
    if (other === undefined) priceOf.set(lookupKey, index);
    else if (eventName !== "")
      problems.push(`stripe.prices[${index}].lookupKey: "${lookupKey}" is that of stripe.prices[${other}] too`);
  }
  if (webhook.thinUrl !== undefined && webhook.thinUrl === webhook.url)
    problems.push("stripe.webhook.thinUrl: must not be that of stripe.webhook.url: each has a secret of its own");
  return problems;
}

/** The section, or its absence, as setup takes it. */
export function toStripeSetup(section: z.infer<typeof STRIPE_SECTION> | undefined): StripeSetup {
  return {
    product: section?.product,
    prices: (section?.prices ?? []).map((price): WantedPrice => {
      const lookupKey = price.lookupKey ?? defaultLookupKey(price);
      return { ...price, unitAmountDecimal: withoutPadding(price.unitAmountDecimal), lookupKey };
    }),
    webhookUrl: section?.webhook?.url,
    thinWebhookUrl: section?.webhook?.thinUrl,
  };
}

function defaultLookupKey({
  eventName,
  currency,
  interval,
}: Pick<WantedPrice, "eventName" | "currency"> & { interval: string }): string {
  return `metering_${eventName}_${currency}_${interval}`;
}

/** As Stripe renders it. */
function withoutPadding(decimal: string): string {
  const [whole = "", fraction = ""] = decimal.split(".");
  const trimmed = fraction.replace(/0+$/, "");
  return `${whole.replace(/^0+(?=\d)/, "")}${trimmed === "" ? "" : `.${trimmed}`}`;
}

function isPublicUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, hash } = new URL(text);
  return /^https?:$/.test(protocol) && username === "" && password === "" && hash === "";
}

// What the service needs at Stripe: found and checked, or made. The order of the writes is that of the needs, and each step looks first,
// so a run that was killed anywhere is finished by the next one:
//   1. meters      an event name belongs to one meter: a second creation is refused, and the first one is found.
//   2. product     its id is chosen here: as above.
//   3. prices      a lookup key belongs to one price: as above.
//   4. endpoint    Stripe would make two of one URL: created under an idempotency key that all runs share (create-once.ts).
//   5. destination as 4. After a kill between 4 or 5 and the printing of the secret it is to be had in Stripe's Dashboard.
import type Stripe from "stripe";
import { explained } from "../call-error.ts";
import { type EnsuredMeter, metersFor } from "../meters.ts";
import { ensureEventDestination } from "./event-destination.ts";
import type { SetupItem } from "./item.ts";
import { ensurePrices } from "./prices.ts";
import { ensureProduct } from "./product.ts";
import type { StripeSetup } from "./wanted.ts";
import { ensureWebhookEndpoint } from "./webhook-endpoint.ts";

export interface SetupOptions {
  readonly stripe: Stripe;
  /** Event names, each with the payload keys that its events carry beyond those of any meter event. */
  readonly meters: ReadonlyMap<string, readonly string[]>;
  readonly setup: StripeSetup;
  /** Only look: not one request that writes. */
  readonly dryRun: boolean;
}

/** Yields each thing as soon as it is settled. Throws StripeCallError when Stripe does not go along; what was made stays. */
export async function* setUpStripe(options: SetupOptions): AsyncGenerator<SetupItem> {
  const { stripe, setup, dryRun } = options;
  const meters = new Map<string, EnsuredMeter>();
  yield* explaining("the meters", meterItems(options, meters));
  const { product, prices, webhookUrl, thinWebhookUrl } = setup;
  if (product !== undefined) {
    const item = await explainingOne("the product", ensureProduct(stripe, product, dryRun));
    yield item;
    const ground = { productId: product.id, productUnfit: item.state === "cannot_change", meters };
    yield* explaining("the prices", ensurePrices(stripe, prices, ground, dryRun));
  }
  if (webhookUrl !== undefined)
    yield await explainingOne("the webhook endpoint", ensureWebhookEndpoint(stripe, webhookUrl, dryRun));
  if (thinWebhookUrl !== undefined)
    yield await explainingOne("the event destination", ensureEventDestination(stripe, thinWebhookUrl, dryRun));
}

async function* meterItems(
  { stripe, meters, dryRun }: SetupOptions,
  ensured: Map<string, EnsuredMeter>,
): AsyncGenerator<SetupItem> {
  for await (const meter of metersFor(stripe, [...meters.keys()], !dryRun)) {
    ensured.set(meter.eventName, meter);
    const { eventName: name, meterId: id, advice } = meter;
    const isNew = meter.state === "created" || meter.state === "missing";
    const extra = meters.get(name) ?? [];
    // The API, as of the SDK's version, has no way to ask for them.
    const note =
      isNew && extra.length > 0
        ? `a plain meter: it adds up whatever ${extra.join(" and ")} say; only Stripe can make one that tells them apart`
        : advice;
    yield { what: "meter", name, id, state: METER_STATES[meter.state], note };
  }
}

const METER_STATES = {
  found: "found",
  created: "created",
  missing: "would_create",
  inactive: "cannot_change",
  unfit: "cannot_change",
} as const satisfies Record<EnsuredMeter["state"], SetupItem["state"]>;

async function* explaining<T>(doing: string, items: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* items;
  } catch (cause) {
    throw explained(cause, doing);
  }
}

async function explainingOne<T>(doing: string, item: Promise<T>): Promise<T> {
  try {
    return await item;
  } catch (cause) {
    throw explained(cause, doing);
  }
}

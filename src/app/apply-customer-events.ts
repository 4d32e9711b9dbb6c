// Events about customers: whose usage a Stripe customer pays, by its metadata; and its end.
import { type CustomerClaim, claimedCustomerId } from "../domain/customer-claim.ts";
import { refreshSubscription } from "./apply-billing-events.ts";
import type { AccountWriter, ClaimEffect, ClaimedStripeEvent } from "./ports/accounts.ts";
import type { Effect, EffectDependencies, Effects } from "./stripe-event-effects.ts";

/** A deleted customer has no metadata left to read: its end has an event of its own. */
const applyCustomer: Effect = async (deps, event, signal) => {
  await deps.accounts.exclusively(event.objectId, async (writer) => {
    const customer = await deps.objects.customer(event.objectId, signal);
    if (customer === undefined || customer.deleted) return;
    await claim(deps, writer, event, customer.createdMs, customer.metadata, false);
  });
};

/**
 * Deleted customers keep nothing but their id at Stripe, and never change again: here alone the event itself is the word. The mapping stays,
 * unless another Stripe customer names the id: usage goes on to be refused and held, and whoever asks hears that nothing entitles it.
 *
 * 1. what it claimed last; 2. its subscriptions, which Stripe ended with it: their own events may come later, or be lost.
 */
const applyDeletedCustomer: Effect = async (deps, event, signal) => {
  await deps.accounts.exclusively(event.objectId, async (writer) => {
    const { createdMs, metadata } = lastStateOf(event);
    await claim(deps, writer, event, createdMs, metadata, true);
  }); // 1
  const subscriptions = await deps.accounts.subscriptionsOf(event.objectId);
  for (const subscriptionId of subscriptions) await refreshSubscription(deps, subscriptionId, signal); // 2
};

export const CUSTOMER_EFFECTS: Effects = [
  ["customer.created", applyCustomer],
  ["customer.updated", applyCustomer],
  ["customer.deleted", applyDeletedCustomer],
];

async function claim(
  { customerMetadataKey: key, logger }: EffectDependencies,
  writer: AccountWriter,
  { objectId: stripeCustomerId, eventId }: ClaimedStripeEvent,
  createdMs: number,
  metadata: Readonly<Record<string, string>>,
  deleted: boolean,
): Promise<void> {
  const { customerId, problem } = claimedCustomerId(metadata, key);
  const fields = { eventId, stripeCustomerId, customerId };
  if (problem !== undefined) logger.warn({ ...fields, key, problem }, "a Stripe customer's metadata names no customer");
  const claimed: CustomerClaim = { stripeCustomerId, customerId, createdMs, deleted };
  const { changes, standing }: ClaimEffect = await writer.saveClaim(claimed);
  for (const change of changes)
    logger.warn({ ...fields, ...change }, "whose usage is billed to whom was changed by a Stripe customer's metadata");
  if (customerId !== undefined && !deleted && standing !== stripeCustomerId)
    logger.error(
      { ...fields, mappedTo: standing },
      "a Stripe customer's metadata names a customer that is not mapped to it",
    );
}

/** As the event shows the customer. Throws where it does not. */
function lastStateOf({ payload }: ClaimedStripeEvent): {
  readonly createdMs: number;
  readonly metadata: Readonly<Record<string, string>>;
} {
  const event: { data?: { object?: { created?: unknown; metadata?: unknown } } } = JSON.parse(payload);
  const { created, metadata } = event.data?.object ?? {};
  if (typeof created !== "number") throw new Error("the event does not show the customer");
  const entries = Object.entries(metadata ?? {}).filter(([, value]) => typeof value === "string");
  return { createdMs: created * 1000, metadata: Object.fromEntries(entries) };
}

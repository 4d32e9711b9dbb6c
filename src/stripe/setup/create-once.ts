// Creation of what Stripe would let one create twice: things without a name that must be unique.
import { hash } from "node:crypto";
import Stripe from "stripe";

/** Keys tried: each one is spent by a failure that Stripe saved under it, or by a creation that was undone since. */
const KEYS_MAX = 4;

/** A kind of object. */
export interface Creation<T extends { readonly id: string }> {
  /** What is created, all of it: the same content, the same idempotency keys. */
  readonly content: unknown;
  find(): Promise<T | undefined>;
  create(idempotencyKey: string): Promise<T>;
  /** Whether there is such an object now. */
  exists(id: string): Promise<boolean>;
}

/**
 * Creates an object that was not found. Whoever creates the same content has the same key, so that of runs that race, one creates and the
 * others get its answer; so does a run that follows one which was killed after the creation (it finds the object before). Rejects with
 * the SDK's error.
 *
 * A key stands for its first answer for a day or longer, even where that helps no more: a saved 500, or an object that somebody has
 * deleted since. The next key then is as much the same for everybody.
 */
export async function createOnce<T extends { readonly id: string }>(creation: Creation<T>): Promise<T> {
  const digest = hash("sha256", JSON.stringify(creation.content), "hex").slice(0, 40);
  for (let n = 0; n < KEYS_MAX; n += 1) {
    try {
      const created = await creation.create(`metering-setup-${digest}-${n}`);
      if (await creation.exists(created.id)) return created;
    } catch (cause) {
      if (!isServerError(cause) || n === KEYS_MAX - 1) throw cause;
      const found = await creation.find();
      if (found !== undefined) return found;
    }
  }
  throw new Error("Stripe answers with objects that it no longer has; try again in a day");
}

function isServerError(cause: unknown): boolean {
  return cause instanceof Stripe.errors.StripeError && (cause.statusCode ?? 0) >= 500;
}

/** Whether a retrieval finds something: false on Stripe's 404. Rejects with any other error of the SDK's. */
export async function isThere(retrieval: Promise<unknown>): Promise<boolean> {
  return (await orUndefined(retrieval)) !== undefined;
}

/** The object, or undefined on Stripe's 404. Rejects with any other error of the SDK's. */
export async function orUndefined<T>(retrieval: Promise<T>): Promise<T | undefined> {
  try {
    return await retrieval;
  } catch (cause) {
    if (cause instanceof Stripe.errors.StripeError && cause.statusCode === 404) return undefined;
    throw cause;
  }
}

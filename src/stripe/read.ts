// Reads of Stripe's objects: missing ones, and waits that end.
import Stripe from "stripe";

/** A read may be sent again at once; past that the event comes again later. */
export const READ = { maxNetworkRetries: 2 };

/** The id of what may come expanded; empty where there is none. */
export function idOf(reference: string | { id: string } | null | undefined): string {
  return typeof reference === "string" ? reference : (reference?.id ?? "");
}

/** The answer, or undefined where Stripe has no such object. Rejects as `abortable` does. */
export async function readOrUndefined<T>(request: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await abortable(request, signal);
  } catch (cause) {
    if (cause instanceof Stripe.errors.StripeInvalidRequestError && cause.statusCode === 404) return undefined;
    throw cause;
  }
}

/** Rejects with the signal's reason as soon as it aborts. The SDK knows no signals: the request itself ends by its own timeout. */
export async function abortable<T>(request: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([request, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

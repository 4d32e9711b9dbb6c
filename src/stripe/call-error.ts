// Failures of Stripe's API in words for operators.
import Stripe from "stripe";

/** A command could not do something at Stripe; the message says why, and what helps. */
class StripeCallError extends Error {
  override readonly name = "StripeCallError";
}

/** `cause` in an operator's words; what is no error of the SDK's comes back as it is. `doing`: "the webhook endpoint". */
export function explained(cause: unknown, doing: string): unknown {
  const why = whyOf(cause);
  return why === undefined ? cause : new StripeCallError(`${doing}: ${why}`, { cause });
}

function whyOf(cause: unknown): string | undefined {
  const { errors } = Stripe;
  if (!(cause instanceof errors.StripeError)) return undefined;
  const { message } = cause;
  if (cause instanceof errors.StripeAuthenticationError)
    return `Stripe does not know the key: check STRIPE_SECRET_KEY (${message})`;
  if (cause instanceof errors.StripePermissionError)
    return `the restricted key in STRIPE_SECRET_KEY may not do this: widen it in Stripe, or use another (${message})`;
  if (cause instanceof errors.StripeConnectionError) return `Stripe cannot be reached: ${message}`;
  if (cause instanceof errors.StripeRateLimitError) return `Stripe throttles: try again in a minute (${message})`;
  if ((cause.statusCode ?? 500) >= 500) return `Stripe failed: try again (${message}${requestOf(cause)})`;
  return `Stripe refused: ${message}${requestOf(cause)}`;
}

function requestOf({ requestId }: InstanceType<typeof Stripe.errors.StripeError>): string {
  return requestId === undefined ? "" : `; request ${requestId}`;
}

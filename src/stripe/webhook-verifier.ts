// Proof that a delivery is Stripe's and fresh. The signature itself is the SDK's business.
import Stripe from "stripe";
import type { RefusedSignature, WebhookVerifier } from "../app/ports/accounts.ts";
import type { Clock } from "../app/ports/clock.ts";

/** Largest distance between a delivery's time and ours, either way. Stripe signs each attempt anew, so only clocks can differ so much. */
const TOLERANCE_SECONDS = Stripe.webhooks.DEFAULT_TOLERANCE;

/** Accepts what any of the `secrets` ("whsec_...") signed: while one is rolled, the old and the new are both current. */
export function stripeWebhookVerifier(secrets: readonly string[], clock: Clock): WebhookVerifier {
  if (secrets.length === 0 || secrets.some((s) => s.trim() === ""))
    throw new Error("a webhook secret is missing or empty");
  return {
    refusal(rawBody, signatureHeader): RefusedSignature | undefined {
      if (signatureHeader === undefined || signatureHeader === "") return "signature_missing";
      if (!secrets.some((secret) => isSignedWith(secret, rawBody, signatureHeader))) return "signature_invalid";
      const aheadSeconds = signedAtSeconds(signatureHeader) - Math.floor(clock.nowMs() / 1000);
      // Written so that no time at all (NaN) is too old as well.
      if (!(aheadSeconds >= -TOLERANCE_SECONDS)) return "timestamp_too_old";
      return aheadSeconds > TOLERANCE_SECONDS ? "timestamp_in_future" : undefined;
    },
  };
}

/** Whatever its time: the SDK refuses old ones alone, so that both sides are judged above. */
function isSignedWith(secret: string, rawBody: Uint8Array, signatureHeader: string): boolean {
  const anyTime = Number.MAX_SAFE_INTEGER;
  try {
    return Stripe.webhooks.signature?.verifyHeader(rawBody, signatureHeader, secret, anyTime) ?? false;
  } catch {
    // Mostly a StripeSignatureVerificationError; of an empty "v1=", for one, a plain Error. In any case nobody has signed this.
    return false;
  }
}

/** The time that the signature covers; read as the SDK reads it (of several the last), or another time could be smuggled past it. */
function signedAtSeconds(signatureHeader: string): number {
  const times = signatureHeader.split(",").filter((item) => item.split("=")[0] === "t");
  return Number.parseInt(times.at(-1)?.split("=")[1] ?? "", 10);
}

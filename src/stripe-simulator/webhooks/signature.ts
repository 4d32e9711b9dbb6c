// Stripe's signature scheme, v1.
import { createHmac } from "node:crypto";

/** The Stripe-Signature header of one delivery attempt: signed with the whole secret, over time and raw body. */
export function signatureHeader(secret: string, rawBody: string, unixSeconds: number): string {
  const signature = createHmac("sha256", secret).update(`${unixSeconds}.${rawBody}`).digest("hex");
  return `t=${unixSeconds},v1=${signature}`;
}

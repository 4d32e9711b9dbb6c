// Stripe's signature scheme, v1.
import { createHmac } from "node:crypto";

/** The Stripe-Signature header of one delivery attempt: one v1 per secret, signed with the whole of it over time and raw body. */
export function signatureHeader(secrets: readonly string[], rawBody: string, unixSeconds: number): string {
  const signed = `${unixSeconds}.${rawBody}`;
  const signatures = secrets.map((secret) => `v1=${createHmac("sha256", secret).update(signed).digest("hex")}`);
  return [`t=${unixSeconds}`, ...signatures].join(",");
}

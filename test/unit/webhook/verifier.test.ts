import Stripe from "stripe";
import { expect, test } from "vitest";
import { stripeWebhookVerifier } from "../../../src/stripe/webhook-verifier.ts";
import { testClock } from "../../support/clock.ts";

const NOW = Date.UTC(2026, 10, 23, 12);
const SECONDS = NOW / 1000;
const body = '{"id":"evt_1"}';

function refusal(header: string | undefined, payload = body, secrets = ["whsec_new", "whsec_old"]) {
  const clock = testClock();
  clock.set(NOW);
  return stripeWebhookVerifier(secrets, clock).refusal(Buffer.from(payload), header);
}

function sign(secret: string, timestamp = SECONDS, payload = body): string {
  return Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
}

test.each(["whsec_new", "whsec_old"])("signed with a current secret: %s", (secret) => {
  expect(refusal(sign(secret))).toBeUndefined();
});

test("one of several signatures is enough, whatever the others are", () => {
  expect(refusal(`${sign("whsec_old")},v1=${"0".repeat(64)},v0=abc`)).toBeUndefined();
});

test.each([
  ["no header", undefined, "signature_missing"],
  ["an empty header", "", "signature_missing"],
  ["a header that is no signature", "hello", "signature_invalid"],
  ["no time", sign("whsec_new").replace(/t=\d+,/, ""), "signature_invalid"],
  ["no v1", sign("whsec_new").replace("v1=", "v0="), "signature_invalid"],
  ["a secret that is not ours", sign("whsec_other"), "signature_invalid"],
  ["another body", sign("whsec_new", SECONDS, "{}"), "signature_invalid"],
  ["another time than was signed", sign("whsec_new").replace(`t=${SECONDS}`, `t=${SECONDS - 1}`), "signature_invalid"],
  ["301 s old", sign("whsec_new", SECONDS - 301), "timestamp_too_old"],
  ["more than 300 s ahead", sign("whsec_new", SECONDS + 302), "timestamp_in_future"],
  ["old, with a fresh time put before it", `t=${SECONDS},${sign("whsec_new", SECONDS - 1000)}`, "timestamp_too_old"],
])("%s", (_, header, expected) => {
  expect(refusal(header)).toBe(expected);
});

test("300 s either way is fresh", () => {
  expect(refusal(sign("whsec_new", SECONDS - 299))).toBeUndefined();
  expect(refusal(sign("whsec_new", SECONDS + 300))).toBeUndefined();
});

test("blank secrets are a mistake, not an open door", () => {
  expect(() => stripeWebhookVerifier([], testClock())).toThrow("secret");
  expect(() => stripeWebhookVerifier(["whsec_a", " "], testClock())).toThrow("secret");
});

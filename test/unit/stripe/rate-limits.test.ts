import { expect, test } from "vitest";
import { isSandbox, parseConfig } from "../../../src/process/config/parse-config.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterEvents } from "../../../src/stripe/meter-events.ts";
import { stripeMeterStream } from "../../../src/stripe/meter-stream.ts";
import { eventsPerSecondMax } from "../../../src/stripe/rate-limits.ts";
import { testClock } from "../../support/clock.ts";

const STAND_IN = "http://127.0.0.1:12111";

test.each([
  ["sk_live_1", undefined, "v1", 1_000],
  ["rk_live_1", undefined, "stream", 10_000],
  ["sk_test_1", undefined, "v1", 25],
  ["rk_test_1", undefined, "v1", 25],
  ["sk_test_1", "https://api.stripe.com", "v1", 25],
  // 25 requests of 100.
  ["sk_test_1", undefined, "stream", 2_500],
  // A stand-in has no sandbox's limits.
  ["sk_test_1", STAND_IN, "v1", 1_000],
  ["sk_test_1", STAND_IN, "stream", 10_000],
] as const)("%s at %s through %s: %d events a second", (key, base, name, expected) => {
  const config = parseConfig({ STRIPE_SECRET_KEY: key, ...(base && { STRIPE_API_BASE: base }) });
  const stripe = openStripe({ secretKey: key, maxSockets: 1, timeoutMs: 1_000 });
  const sink = name === "v1" ? stripeMeterEvents(stripe, 1_000) : stripeMeterStream(stripe, testClock(), 1_000);
  expect(eventsPerSecondMax(sink, !isSandbox(config))).toBe(expected);
});

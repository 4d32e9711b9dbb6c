// Stripe's rate limits, as documented: token buckets that hold one second's worth, on the simulator's clock.
import type { Settings } from "../state/settings.ts";
import { METER_EVENT_PATHS, STREAM_PATH } from "../usage/meter-event-paths.ts";
import { rateLimited } from "./stripe-error.ts";
import { decodeJson } from "./v2.ts";

interface Limit {
  readonly bucket: string;
  readonly perSecond: number;
  /** What the answer gives in Stripe-Rate-Limited-Reason. */
  readonly reason: "global-rate" | "endpoint-rate";
}

const SANDBOX: Limit = { bucket: "sandbox", perSecond: 25, reason: "global-rate" };
const LIVE: Limit = { bucket: "live", perSecond: 100, reason: "global-rate" };
const LIVE_METER_EVENTS: Limit = { bucket: "live meter events", perSecond: 1_000, reason: "endpoint-rate" };
const LIVE_STREAM: Limit = { bucket: "live stream", perSecond: 10_000, reason: "endpoint-rate" };

/** Not part of the account: a restart fills the buckets. */
export class RateLimiter {
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  /** Throws 429 when the request comes too soon after others. In a sandbox, everything counts alike. */
  check(mode: Settings["rateLimits"], path: string, body: string, nowMs: number): void {
    if (mode === "off") return;
    const limit = mode === "sandbox" ? SANDBOX : liveLimit(path);
    const cost = limit === LIVE_STREAM ? eventsIn(body) : 1;
    const { tokens, atMs } = this.#buckets.get(limit.bucket) ?? { tokens: limit.perSecond, atMs: nowMs };
    const refilled = Math.min(limit.perSecond, tokens + ((nowMs - atMs) / 1_000) * limit.perSecond);
    const left = refilled - cost;
    this.#buckets.set(limit.bucket, { tokens: left < 0 ? refilled : left, atMs: nowMs });
    if (left < 0) throw rateLimited(limit.reason);
  }
}

function liveLimit(path: string): Limit {
  if (path === STREAM_PATH) return LIVE_STREAM;
  return METER_EVENT_PATHS.includes(path) ? LIVE_METER_EVENTS : LIVE;
}

/** The stream is limited by events, not by requests. */
function eventsIn(body: string): number {
  const sent = decodeJson(body);
  const events = typeof sent === "object" && sent !== null && "events" in sent ? sent.events : undefined;
  return Array.isArray(events) ? Math.max(1, events.length) : 1;
}

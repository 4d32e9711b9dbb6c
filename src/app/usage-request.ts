// What GetUsage and StreamUsage ask and answer, in the domain's words. Made by rpc/validate, converted back by rpc/convert.
import type { NamedPeriod, WindowSize } from "../domain/period.ts";
import type { Interval } from "../domain/window.ts";

/** How totals are filtered and split. Lists are distinct and sorted; empty means all. */
export interface UsageSelection {
  readonly customerId: string;
  readonly apiKeyId: string | undefined;
  readonly models: readonly string[];
  readonly meters: readonly string[];
  readonly groupByApiKey: boolean;
  readonly groupByModel: boolean;
  /** Configured label keys, in the order of the request. */
  readonly groupByLabels: readonly string[];
}

export interface UsageRequest extends UsageSelection {
  /** "default": the billing period, or the current month where no subscription is known. */
  readonly over: NamedPeriod | "default" | Interval;
  /** A name that isTimeZone accepts. */
  readonly timeZone: string;
  readonly windowSize: WindowSize;
  /** Empty: do not wait. */
  readonly consistencyToken: string;
  /** 1..1000. */
  readonly pageSize: number;
  /** Empty: from the start. */
  readonly pageToken: string;
}

/** The sum of one meter over one window and one combination of the dimensions asked for. */
export interface UsageTotal {
  /** Empty unless read over all customers. */
  readonly customerId: string;
  readonly window: Interval;
  readonly meter: string;
  /** Empty unless grouped by. */
  readonly apiKeyId: string;
  readonly model: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly quantity: bigint;
  readonly recordCount: bigint;
}

/** How far the usage has come on its way to the invoice. */
export interface BillingState {
  readonly subscriptionStatus: string;
  readonly entitled: boolean;
  /** By Stripe event name. */
  readonly reported: ReadonlyMap<string, bigint>;
  readonly unreported: ReadonlyMap<string, bigint>;
}

export interface UsageAnswer {
  readonly interval: Interval;
  readonly tokensUsed: bigint;
  readonly requests: bigint;
  readonly totals: readonly UsageTotal[];
  /** Empty at the end. */
  readonly nextPageToken: string;
  /** Undefined on pages after the first. */
  readonly billing: BillingState | undefined;
  readonly watermarkMs: number;
}

export interface WatchRequest extends UsageSelection {
  readonly over: NamedPeriod | "default";
  /** Empty: from a fresh snapshot. */
  readonly resumeToken: Uint8Array;
  /** 50..60,000. */
  readonly minUpdateIntervalMs: number;
  /** 1,000..60,000. */
  readonly heartbeatIntervalMs: number;
}

/** Of all customers, the most active ones. */
export interface WatchAllRequest
  extends Pick<WatchRequest, "meters" | "resumeToken" | "minUpdateIntervalMs" | "heartbeatIntervalMs"> {
  /** A period that is the same for all. */
  readonly over: "current_month" | "today";
}

export type WatchEvent = (
  | { readonly kind: "snapshot"; readonly interval: Interval; readonly totals: readonly UsageTotal[] }
  | { readonly kind: "update"; readonly totals: readonly UsageTotal[] }
  | { readonly kind: "heartbeat" }
) & { readonly resumeToken: Uint8Array; readonly watermarkMs: number };

/** What a handler knows of its call beside the request. */
export interface CallContext {
  /** Aborts when the caller hung up, its deadline passed, or the server drains. */
  readonly signal: AbortSignal;
  /** Of the call's span; undefined where it is not traced. */
  readonly traceparent?: string | undefined;
}

/** The use cases behind the four RPCs. Every rejection is a MeteringError, or a bug. */
export interface ReadUsage {
  getUsage(request: UsageRequest, context: CallContext): Promise<UsageAnswer>;
  /** Ends when the signal aborts: silently when the caller left, with `draining` when the server does. */
  watchUsage(request: WatchRequest, context: CallContext): AsyncIterable<WatchEvent>;
  /** The same, over all customers. */
  watchAll(request: WatchAllRequest, context: CallContext): AsyncIterable<WatchEvent>;
}

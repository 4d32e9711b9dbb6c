// Faults: what goes wrong between a client and Stripe, on demand. Not part of the account, and not kept over a restart.
import { z } from "zod";
import type { RandomSource } from "../state/random.ts";
import { ERROR_CODES } from "../usage/error-codes.ts";

/** One kind of trouble on one route, for the next n requests or for a share of all. */
export const faultSchema = z
  .strictObject({
    /** `POST /v1/billing/meter_events`, `GET /v1/customers/:id`, or `*` for every route of Stripe's. */
    route: z.string().min(1),
    kind: z.enum([
      /** 429 without processing; `reason` becomes Stripe-Rate-Limited-Reason, `shouldRetry` Stripe-Should-Retry. */
      "rate_limited",
      /** 429 with code lock_timeout and Stripe-Should-Retry: true, not from the rate limiter. */
      "lock_timeout",
      /** 409 without processing: another request on the same object. */
      "conflict",
      /** 403: the key is a restricted one that lacks the permission. */
      "forbidden",
      /** `status` (500) in Stripe's shape; `processed`: it took effect all the same; `saved`: replayed under its key. */
      "server_error",
      /** 502 with an HTML body, from something in front of Stripe; `processed`: Stripe had done it. */
      "bad_gateway",
      /** The connection is reset, nothing was done. The SDK resends once by itself, so one such fault goes unnoticed. */
      "reset_before",
      /** It was done, then the connection is reset. */
      "reset_after",
      /** It was done; 200, but the body ends half-way. */
      "truncated",
      /** It is done at once, and answered `delayMs` later. */
      "slow_answer",
      /** It is done only `delayMs` later. */
      "slow_processing",
      /** 401: the token of a meter event session expires before its time. */
      "session_expired",
      /** Meter events are taken, with 200, and never counted nor reported; `burnt`: a resend under their identifier neither. */
      "dropped",
      /** Meter events are taken, with 200, and refused later with `code`, although they are good. */
      "rejected",
    ]),
    /** For so many matching requests. Without it and `rate`, for all until cleared. */
    next: z.number().int().min(1).optional(),
    /** For this share of matching requests, 0 to 1. */
    rate: z.number().min(0).max(1).optional(),
    status: z.number().int().min(500).max(599).optional(),
    processed: z.boolean().optional(),
    saved: z.boolean().optional(),
    reason: z
      .enum(["global-concurrency", "global-rate", "endpoint-concurrency", "endpoint-rate", "resource-specific"])
      .optional(),
    shouldRetry: z.boolean().optional(),
    burnt: z.boolean().optional(),
    code: z.enum(ERROR_CODES).optional(),
    /** Only the first so many events of a stream's request are dropped or rejected. Default: all. */
    events: z.number().int().min(1).max(100).optional(),
    delayMs: z.number().int().min(0).max(600_000).optional(),
  })
  .refine((fault) => fault.next === undefined || fault.rate === undefined, "either next or rate, not both");

export type Fault = z.infer<typeof faultSchema>;

/** The faults in force. The first that matches and, with a rate, is drawn, strikes. */
export class Faults {
  readonly #random: RandomSource;
  #rules: { readonly fault: Fault; left: number }[] = [];
  #struck = 0;

  constructor(random: RandomSource) {
    this.#random = random;
  }

  add(fault: Fault): void {
    this.#rules.push({ fault, left: fault.next ?? Number.POSITIVE_INFINITY });
  }

  clear(): void {
    this.#rules = [];
  }

  /** The faults in force, `next` counting what is left, and how many struck so far. */
  get state(): { readonly rules: readonly Fault[]; readonly struck: number } {
    const rules = this.#rules.map(({ fault, left }) => (fault.next === undefined ? fault : { ...fault, next: left }));
    return { rules, struck: this.#struck };
  }

  /** The fault that strikes this request, if any. `pattern` is the route as declared, with its `:name` segments. */
  draw(method: string, pattern: string): Fault | undefined {
    for (const rule of this.#rules) {
      const { fault } = rule;
      if (fault.route !== "*" && fault.route !== `${method} ${pattern}`) continue;
      if (fault.rate !== undefined && this.#random() >= fault.rate) continue;
      rule.left -= 1;
      this.#rules = this.#rules.filter(({ left }) => left > 0);
      this.#struck += 1;
      return fault;
    }
    return undefined;
  }
}

// A deployment that something happens to, callers who keep a journal of what they sent, and Stripe's word at the end.
import type Stripe from "stripe";
import { expect, onTestFinished } from "vitest";
import { MeteringClient } from "../../../src/rpc/client.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { ensureMeters } from "../../../src/stripe/meters.ts";
import { testClock } from "../../support/clock.ts";
import { type CommandResult, runCommand } from "../../support/command.ts";
import type { Service } from "../../support/service.ts";

const METER = "input_tokens";
const CALL_MS = 20_000;
const HOUR_S = 3_600;
/** In an hour that is over: Stripe's sums of it can be compared. */
export const EVENT_S = Math.floor(Date.now() / 1_000 / HOUR_S) * HOUR_S - 2 * HOUR_S + 300;

export interface Sent {
  readonly customerId: string;
  readonly idempotencyKey: string;
  readonly tokens: bigint;
  /** After EVENT_S. */
  readonly offsetS?: number;
}

/** Where a test reaches the deployment. */
export class Scene {
  readonly #service: Service;
  readonly #stripe: Stripe;
  #meterId = "";

  constructor(service: Service) {
    this.#service = service;
    const options = { secretKey: "sk_test_service", maxSockets: 2, timeoutMs: CALL_MS };
    this.#stripe = openStripe({ ...options, apiBase: new URL(service.simulator.url) });
  }

  async customers(count: number): Promise<string[]> {
    const [meter] = await ensureMeters(this.#stripe, [METER]);
    this.#meterId = meter?.meterId ?? "";
    const made = await Promise.all(Array.from({ length: count }, () => this.#stripe.customers.create()));
    return made.map(({ id }) => id);
  }

  /** Sends records as their backend does, and as it does once more; returns how many were there already. */
  async send(records: readonly Sent[]): Promise<number> {
    const client = new MeteringClient(this.#service.api.grpcTarget, testClock());
    onTestFinished(() => client.close());
    await client.waitUntilConnected(CALL_MS);
    const answers = await client.batchRecordUsage(
      records.map(({ customerId, idempotencyKey, tokens, offsetS = 0 }) => {
        const eventTime = { seconds: BigInt(EVENT_S + offsetS) };
        return { customerId, idempotencyKey, eventTime, measurements: [{ meter: METER, quantity: tokens }] };
      }),
      CALL_MS,
    );
    const recorded = answers.map((answer) => {
      if (answer instanceof Error) throw answer;
      return answer;
    });
    return recorded.filter(({ isDuplicate }) => isDuplicate).length;
  }

  metering(...args: string[]): Promise<CommandResult> {
    return runCommand(args, { ...this.#service.environment, METERING_RECONCILE_LAG: "1s" });
  }

  /** As metering(), of a command that must succeed; its output. */
  async must(...args: string[]): Promise<string> {
    const result = await this.metering(...args);
    expect(result, args.join(" ")).toMatchObject({ exitCode: 0 });
    return result.stdout;
  }

  /** What Stripe counted of a customer, over all. */
  async counted(customerId: string): Promise<number> {
    const span = { customer: customerId, start_time: EVENT_S - 300, end_time: EVENT_S - 300 + 2 * HOUR_S };
    const { data } = await this.#stripe.billing.meters.listEventSummaries(this.#meterId, span);
    return data.reduce((sum, { aggregated_value: value }) => sum + value, 0);
  }
}

// What is possible at all: the official SDK in a loop, without an outbox, a rate or a word on outcomes. A process of its own:
// `node bench/billing/bare-loop.ts '<BareSpec as JSON>'` prints one BareResult as JSON.
import { openStripe } from "../../src/stripe/client.ts";

export interface BareSpec {
  readonly stripePort: number;
  readonly sink: "v1" | "stream";
  readonly events: number;
  /** Requests under way at a time. */
  readonly concurrency: number;
  readonly customers: readonly string[];
  readonly eventNames: readonly string[];
  readonly timestampMs: number;
}

export interface BareResult {
  /** Over the last four fifths: the first is for compilers. */
  readonly eventsPerSecond: number;
}

const BATCH = 100;
const TIMEOUT_MS = 30_000;

async function run(spec: BareSpec): Promise<BareResult> {
  const apiBase = new URL(`http://127.0.0.1:${spec.stripePort}`);
  const options = { apiBase, maxSockets: spec.concurrency, timeoutMs: TIMEOUT_MS };
  const stripe = openStripe({ secretKey: "sk_test_bench", ...options });
  const { authentication_token: apiKey } = await stripe.v2.billing.meterEventSession.create();
  const eventOf = (i: number) => ({
    event_name: spec.eventNames[i % spec.eventNames.length] ?? "",
    identifier: `bare-${i}-0123456789abcdef0123456789abcdef01234567`,
    payload: { stripe_customer_id: spec.customers[i % spec.customers.length] ?? "", value: "1" },
  });
  const timestamp = new Date(spec.timestampMs).toISOString();
  const send = {
    v1: async (i: number) => {
      const event = eventOf(i);
      const key = { idempotencyKey: event.identifier };
      await stripe.billing.meterEvents.create({ ...event, timestamp: spec.timestampMs / 1000 }, key);
    },
    stream: async (from: number) => {
      const events = Array.from({ length: BATCH }, (_, i) => ({ ...eventOf(from + i), timestamp }));
      await stripe.v2.billing.meterEventStream.create({ events }, { apiKey });
    },
  }[spec.sink];
  const step = spec.sink === "v1" ? 1 : BATCH;
  const measuredFrom = spec.events / 5;
  let next = 0;
  let startedMs = 0;
  const worker = async () => {
    while (next < spec.events) {
      const i = next;
      next += step;
      if (startedMs === 0 && i >= measuredFrom) startedMs = performance.now();
      await send(i);
    }
  };
  await Promise.all(Array.from({ length: spec.concurrency }, worker));
  return { eventsPerSecond: (spec.events - measuredFrom) / ((performance.now() - startedMs) / 1000) };
}

process.stdout.write(`${JSON.stringify(await run(JSON.parse(process.argv[2] ?? "") as BareSpec))}\n`);

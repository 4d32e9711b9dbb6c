// A client process: a backend that records usage under one key a fact, again and again until it is told how that ended. Its journal says
// what it sent and what it was told. Killed, and started again, it first sends what its journal leaves open.
import { setTimeout as delay } from "node:timers/promises";
import { MeteringService, RecordOutcome } from "../gen/metering/v1/metering_service_pb.ts";
import { Random } from "../simulation/random.ts";
import { CallFailure } from "../src/rpc/client.ts";
import { call, openClient } from "./calls.ts";
import { Journal, openDeliveries, readJournal, type Told } from "./journal.ts";
import { type Payer, type Usage, UsageSource } from "./usage.ts";

/** What the process is told to do, as JSON, its only argument. */
export interface ClientOrders {
  readonly seed: number;
  readonly client: number;
  /** host:port, comma-separated. */
  readonly targets: string;
  readonly journal: string;
  readonly payers: readonly Payer[];
  /** Calls, whatever they hold. */
  readonly callsPerSecond: number;
}

/** Calls under way at a time. */
const LANES = 6;
const RECOVER_BATCH = 100;
const AGAIN_MS_MIN = 50;
const AGAIN_MS_MAX = 2_000;

interface Delivery {
  readonly n: number;
  readonly usage: Usage;
}

class UsageClient {
  readonly #orders: ClientOrders;
  readonly #journal: Journal;
  readonly #connection;
  readonly #random: Random;
  readonly #source: UsageSource;
  #n: number;
  #isStopping = false;
  #dueMs = Date.now();

  constructor(orders: ClientOrders, life: number, firstN: number) {
    this.#orders = orders;
    this.#journal = new Journal(orders.journal, Date.now());
    this.#connection = openClient(orders.targets, true);
    this.#n = firstN;
    const { seed, client } = orders;
    this.#random = new Random(seed, `client ${client} life ${life} waits`);
    const usage = new Random(seed, `client ${client} life ${life}`);
    this.#source = new UsageSource(usage, orders.payers, `c${client}-${life}`);
  }

  stop(): void {
    this.#isStopping = true;
  }

  /** Until it is stopped and everything that it sent was answered. */
  async run(open: readonly Delivery[]): Promise<void> {
    for (let i = 0; i < open.length; i += RECOVER_BATCH) await this.#deliver(open.slice(i, i + RECOVER_BATCH));
    await Promise.all(Array.from({ length: LANES }, () => this.#lane()));
    this.#connection.close();
    this.#journal.close();
  }

  async #lane(): Promise<void> {
    while (!this.#isStopping) {
      const nowMs = Date.now();
      // What was held up is not made up for: that would be a flood.
      this.#dueMs = Math.max(this.#dueMs, nowMs - 1_000) + 1_000 / this.#orders.callsPerSecond;
      if (this.#dueMs > nowMs) await delay(this.#dueMs - nowMs);
      const { kind, usages } = this.#source.next(Date.now());
      if (kind === "twice") await Promise.all([this.#send(usages), this.#send(usages)]);
      else await this.#send(usages);
    }
  }

  async #send(usages: readonly Usage[]): Promise<void> {
    const deliveries = usages.map((usage) => {
      this.#n += 1;
      const delivery = { n: this.#n, usage };
      this.#journal.sent(Date.now(), delivery.n, usage);
      return delivery;
    });
    await this.#deliver(deliveries);
  }

  async #deliver(deliveries: readonly Delivery[]): Promise<void> {
    let open = deliveries;
    for (let failures = 0; open.length > 0; failures += 1) {
      const { left, retryAfterMs } = await this.#attempt(open);
      open = left;
      if (open.length === 0) return;
      const backOffMs = Math.min(AGAIN_MS_MIN * 2 ** Math.min(failures, 10), AGAIN_MS_MAX);
      await delay(Math.max(retryAfterMs, backOffMs * (0.5 + this.#random.unit() / 2)));
    }
  }

  /** One call; what has to be sent again. */
  async #attempt(open: readonly Delivery[]): Promise<{ left: readonly Delivery[]; retryAfterMs: number }> {
    const left: Delivery[] = [];
    let retryAfterMs = 0;
    const ends = (delivery: Delivery, result: Told | CallFailure) => {
      const nowMs = Date.now();
      if (!(result instanceof CallFailure)) this.#journal.told(nowMs, delivery.n, result);
      else if (!result.isRetriable) this.#journal.told(nowMs, delivery.n, nameOf(result));
      else {
        this.#journal.again(nowMs, delivery.n, nameOf(result));
        retryAfterMs = Math.max(retryAfterMs, result.retryAfterMs);
        left.push(delivery);
      }
    };
    try {
      const results = await this.#call(open);
      for (const [i, delivery] of open.entries()) ends(delivery, results[i] ?? "no result");
    } catch (cause) {
      if (!(cause instanceof CallFailure)) throw cause;
      for (const delivery of open) ends(delivery, cause);
    }
    return { left, retryAfterMs };
  }

  async #call(open: readonly Delivery[]): Promise<readonly (Told | CallFailure)[]> {
    const requests = open.map(({ usage }) => ({ record: toRecord(usage) }));
    const [only] = requests;
    if (requests.length === 1 && only !== undefined)
      return [toldOf((await call(this.#connection, MeteringService.method.recordUsage, only)).outcome)];
    const { results } = await call(this.#connection, MeteringService.method.batchRecordUsage, { requests });
    return results.map(({ result }) => {
      if (result.case === "response") return toldOf(result.value.outcome);
      const { code = 2, message = "an empty result", details = [] } = result.value ?? {};
      return new CallFailure(code, message, details);
    });
  }
}

function toldOf(outcome: RecordOutcome): Told {
  return outcome === RecordOutcome.DUPLICATE ? "duplicate" : "recorded";
}

function nameOf({ code, reason }: CallFailure): Told {
  return code === "ALREADY_EXISTS" ? "reused" : `${code} ${reason}`;
}

function toRecord({ customerId, key, apiKeyId, eventMs, model, input, output }: Usage) {
  return {
    customerId,
    idempotencyKey: key,
    apiKeyId,
    model,
    eventTime: { seconds: BigInt(Math.floor(eventMs / 1_000)), nanos: (eventMs % 1_000) * 1_000_000 },
    measurements: [
      { meter: "input_tokens", quantity: BigInt(input) },
      { meter: "output_tokens", quantity: BigInt(output) },
    ],
  };
}

const orders = JSON.parse(process.argv[2] ?? "{}") as ClientOrders;
const before = readJournal(orders.journal);
const open = openDeliveries(before);
const lastN = before.sent.at(-1)?.n ?? 0;
// Each life draws usage of its own, under keys of its own.
const client = new UsageClient(orders, before.lives, lastN);
process.once("SIGTERM", () => client.stop());
await client.run(open);

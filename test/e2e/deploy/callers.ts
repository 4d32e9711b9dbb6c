// Backends as gRPC has them by the book: the standard retry policy in a service config, all replicas behind one name.
import { Client, credentials } from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import { MeteringService, RecordOutcome } from "../../../gen/metering/v1/metering_service_pb.ts";
import { callGrpc } from "../../integration/rpc/test-client.ts";
import type { Service } from "../../support/service.ts";

const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [{ service: MeteringService.typeName }],
      waitForReady: true,
      timeout: "30s",
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

/** A client of all replicas, closed when the test ends. */
function retryingClient(service: Service): Client {
  const client = new Client(`ipv4:${service.targets}`, credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.use_local_subchannel_pool": 1,
  });
  onTestFinished(() => client.close());
  return client;
}

/** What callers were told. */
export interface Journal {
  readonly acknowledged: Set<string>;
  duplicates: number;
  readonly failures: string[];
}

/** Backends that record 1 token at a time, one after the other, until stopped. */
export class Callers {
  readonly journal: Journal = { acknowledged: new Set(), duplicates: 0, failures: [] };
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(service: Service, count: number, customerId: string, eventS: number) {
    const clients = Array.from({ length: count }, () => retryingClient(service));
    this.#running = Promise.all(clients.map((client, i) => this.#record(client, `c${i}`, customerId, eventS))).then(
      () => {},
    );
  }

  async #record(client: Client, name: string, customerId: string, eventS: number): Promise<void> {
    for (let n = 0; !this.#stop.signal.aborted; n += 1) {
      const idempotencyKey = `${name}-${n}`;
      const record = {
        customerId,
        idempotencyKey,
        eventTime: { seconds: BigInt(eventS) },
        measurements: [{ meter: "input_tokens", quantity: 1n }],
      };
      const answer = await callGrpc(client, MeteringService.method.recordUsage, { record });
      if ("refusal" in answer) {
        this.journal.failures.push(`${answer.refusal.code}: ${answer.refusal.message}`);
        continue;
      }
      this.journal.acknowledged.add(idempotencyKey);
      if (answer.ok.outcome === RecordOutcome.DUPLICATE) this.journal.duplicates += 1;
    }
  }

  /** Ends them after their calls. */
  async stop(): Promise<Journal> {
    this.#stop.abort();
    await this.#running;
    return this.journal;
  }
}

// Callers of the bench: who writes records, and who follows a stream and keeps what it was told.
import { randomUUID } from "node:crypto";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import {
  GetUsageRequestSchema,
  RecordUsageRequestSchema,
  RecordUsageResponseSchema,
  StreamUsageRequestSchema,
  StreamUsageResponseSchema,
} from "../../gen/metering/v1/metering_service_pb.ts";

export type StreamRequest = MessageInitShape<typeof StreamUsageRequestSchema>;

const MODELS = ["openai/gpt-5", "anthropic/claude-sonnet-4-5"];
const API_KEYS = 3;
const CALL_MS = 60_000;
const asSent = (message: Uint8Array) => Buffer.from(message);
const path = (rpc: string) => `/metering.v1.MeteringService/${rpc}`;

/** A connection of its own. grpc-js, whose cost is a fraction of connect-node's: the cores are left to what is measured. */
export class Caller {
  readonly #client: Client;

  constructor(grpcPort: number) {
    this.#client = new Client(`127.0.0.1:${grpcPort}`, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  close(): void {
    this.#client.close();
  }

  /** Sends the customer's `index`th record; resolves to its consistency token once it is acknowledged. */
  async record(customerId: string, index: number): Promise<string> {
    const measurements = [
      { meter: "input_tokens", quantity: BigInt(200 + ((index * 37) % 4_000)) },
      { meter: "output_tokens", quantity: BigInt(20 + ((index * 11) % 600)) },
    ];
    const [model, apiKeyId] = [MODELS[index % MODELS.length] ?? "", `key_${index % API_KEYS}`];
    const sent = { record: { customerId, idempotencyKey: randomUUID(), apiKeyId, model, measurements } };
    const request = toBinary(RecordUsageRequestSchema, create(RecordUsageRequestSchema, sent));
    return fromBinary(RecordUsageResponseSchema, await this.#call("RecordUsage", request)).consistencyToken;
  }

  /** Resolves when GetUsage has answered with totals that hold the token's record. */
  async read(customerId: string, consistencyToken: string): Promise<void> {
    await this.#call(
      "GetUsage",
      toBinary(GetUsageRequestSchema, create(GetUsageRequestSchema, { customerId, consistencyToken })),
    );
  }

  /** Follows a stream until the signal aborts, and tells how many records its totals hold, at every change. Rejects where it ends before. */
  async follow(request: StreamRequest, signal: AbortSignal, onRecords: (records: number) => void): Promise<void> {
    const message = toBinary(StreamUsageRequestSchema, create(StreamUsageRequestSchema, request));
    const stream = this.#client.makeServerStreamRequest(path("StreamUsage"), asSent, (answer) => answer, message);
    signal.addEventListener("abort", () => stream.cancel(), { once: true });
    const ended = Promise.withResolvers<void>();
    const records = new Map<string, number>();
    stream.on("data", (answer: Buffer) => {
      const { event } = fromBinary(StreamUsageResponseSchema, answer);
      if (event.case !== "snapshot" && event.case !== "update") return;
      if (event.case === "snapshot") records.clear();
      for (const { meter, apiKeyId, model, quantity } of event.value.totals)
        if (meter === "requests") records.set(JSON.stringify([apiKeyId, model]), Number(quantity));
      onRecords([...records.values()].reduce((sum, count) => sum + count, 0));
    });
    stream.on("error", (cause) => (signal.aborted ? ended.resolve() : ended.reject(cause)));
    stream.on("end", () => (signal.aborted ? ended.resolve() : ended.reject(new Error("a stream ended"))));
    await ended.promise;
  }

  #call(rpc: string, request: Uint8Array): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const deadline = Date.now() + CALL_MS;
    this.#client.makeUnaryRequest(
      path(rpc),
      asSent,
      (answer: Buffer) => answer,
      request,
      { deadline },
      (failure, answer) => {
        if (failure !== null || answer === undefined) reject(failure ?? new Error(`${rpc}: no answer`));
        else resolve(answer);
      },
    );
    return promise;
  }
}

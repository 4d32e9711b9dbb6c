// A client of the service over gRPC, as a backend in Node would have it. One attempt a call: its caller decides about retries.
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { Client, status as Code, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { ErrorInfoSchema, RetryInfoSchema } from "../../gen/google/rpc/error_details_pb.ts";
import { type Status, StatusSchema } from "../../gen/google/rpc/status_pb.ts";
import {
  type GetUsageRequestSchema,
  type GetUsageResponse,
  MeteringService,
  RecordOutcome,
  type RecordUsageResponse,
} from "../../gen/metering/v1/metering_service_pb.ts";
import type { UsageRecordSchema } from "../../gen/metering/v1/usage_pb.ts";
import type { Clock } from "../app/ports/clock.ts";
import { encodeMessage } from "./grpc-service.ts";

/** A usage record's fields, as the proto names them. */
export type RecordToSend = MessageInitShape<typeof UsageRecordSchema>;
/** GetUsage's fields, as the proto names them. */
export type UsageQuestion = MessageInitShape<typeof GetUsageRequestSchema>;
export type { GetUsageResponse } from "../../gen/metering/v1/metering_service_pb.ts";

/** The service has the record. */
export interface Recorded {
  /** Whether an earlier call stored it. */
  readonly isDuplicate: boolean;
  /** For GetUsage, to read totals that include the record. */
  readonly consistencyToken: string;
}

/** A call, or one item of a batch, that failed. */
export class CallFailure extends Error {
  override readonly name = "CallFailure";
  /** Canonical name, such as "UNAVAILABLE". */
  readonly code: string;
  /** ErrorInfo's reason; empty where the status did not come from the service itself. */
  readonly reason: string;
  /** Whether to send the same again: see the service's comment in the proto. */
  readonly isRetriable: boolean;
  /** Shortest wait before that, as RetryInfo asks; 0 where it does not. */
  readonly retryAfterMs: number;
  /** Whether surely nothing was stored. */
  readonly isRefusal: boolean;

  constructor(code: Code, message: string, details: Status["details"]) {
    super(message);
    const reason = details.map((any) => anyUnpack(any, ErrorInfoSchema)).find((found) => found !== undefined);
    const retry = details.map((any) => anyUnpack(any, RetryInfoSchema)).find((found) => found !== undefined);
    this.code = Code[code] ?? String(code);
    this.reason = reason?.reason ?? "";
    this.retryAfterMs = retry?.retryDelay === undefined ? 0 : durationMs(retry.retryDelay);
    this.isRetriable = code === Code.RESOURCE_EXHAUSTED ? retry !== undefined : RETRIABLE.has(code);
    this.isRefusal = !RETRIABLE.has(code);
  }
}

/** Whether the record is stored is then not known. CANCELLED: this client cancels nothing, so a server that went away did. */
const RETRIABLE: ReadonlySet<Code> = new Set([Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.CANCELLED]);

const CHANNEL_OPTIONS = {
  // The caller retries, and must know of every attempt.
  "grpc.enable_retries": 0,
  // A service that restarts is found again soon.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 5_000,
  // One connection a client, whoever else in this process talks to the same address.
  "grpc.use_local_subchannel_pool": 1,
};

/** How a client connects by TLS. PEM. */
export interface ClientTls {
  /** Authorities of the service's certificate. Undefined: those that Node brings along. */
  readonly ca?: Buffer | undefined;
  /** Shown to a port that asks for a certificate; the two go together. */
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}

export interface MeteringClientOptions {
  /** What to be known by. */
  readonly token?: string | undefined;
  /** Undefined: plain text. */
  readonly tls?: ClientTls | undefined;
}

/** metering.v1.MeteringService at one address. Calls reject with CallFailure and nothing else. */
export class MeteringClient {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #metadata = new Metadata();

  /** `target`: host:port, whose host the service's certificate must name. Connects with the first call. Throws where `tls` cannot be used. */
  constructor(target: string, clock: Clock, { token, tls }: MeteringClientOptions = {}) {
    if (token !== undefined) this.#metadata.set("authorization", `Bearer ${token}`);
    const channel =
      tls === undefined
        ? credentials.createInsecure()
        : credentials.createSsl(tls.ca, tls.key ?? null, tls.cert ?? null);
    this.#client = new Client(target, channel, CHANNEL_OPTIONS);
    this.#clock = clock;
  }

  /** Rejects with CallFailure when there is no connection within the time. */
  waitUntilConnected(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(this.#clock.nowMs() + timeoutMs, (error) => {
        if (error === undefined) resolve();
        else reject(new CallFailure(Code.UNAVAILABLE, error.message, []));
      });
    });
  }

  async recordUsage(record: RecordToSend, timeoutMs: number): Promise<Recorded> {
    return toRecorded(await this.#call(MeteringService.method.recordUsage, { record }, timeoutMs));
  }

  /** In the order of `records`, 1..1000. */
  async batchRecordUsage(records: readonly RecordToSend[], timeoutMs: number): Promise<(Recorded | CallFailure)[]> {
    const requests = records.map((record) => ({ record }));
    const response = await this.#call(MeteringService.method.batchRecordUsage, { requests }, timeoutMs);
    if (response.results.length !== records.length) throw new CallFailure(Code.DATA_LOSS, "the answer lacks items", []);
    return response.results.map(({ result }) => {
      if (result.case === "response") return toRecorded(result.value);
      const error = result.value;
      return new CallFailure(error?.code ?? Code.DATA_LOSS, error?.message ?? "an empty result", error?.details ?? []);
    });
  }

  getUsage(question: UsageQuestion, timeoutMs: number): Promise<GetUsageResponse> {
    return this.#call(MeteringService.method.getUsage, question, timeoutMs);
  }

  close(): void {
    this.#client.close();
  }

  #call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    timeoutMs: number,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        `/${MeteringService.typeName}/${method.name}`,
        (message: MessageShape<I>) => encodeMessage(method.input, message),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        create(method.input, request),
        this.#metadata,
        { deadline: this.#clock.nowMs() + timeoutMs },
        (error, answer) => {
          if (answer !== undefined) resolve(answer);
          else reject(error === null ? new CallFailure(Code.INTERNAL, "no answer", []) : toFailure(error));
        },
      );
    });
  }
}

function toRecorded(response: RecordUsageResponse): Recorded {
  const { outcome, consistencyToken } = response;
  return { isDuplicate: outcome === RecordOutcome.DUPLICATE, consistencyToken };
}

function toFailure(error: ServiceError): CallFailure {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const details = Buffer.isBuffer(bytes) ? fromBinary(StatusSchema, bytes).details : [];
  return new CallFailure(error.code, error.details, details);
}

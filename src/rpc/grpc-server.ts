// gRPC for backends, on grpc-js: five times the rate of the Connect server, which serves browsers.
import {
  type DescMessage,
  type DescMethodStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  Metadata,
  Server,
  type ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { StatusSchema } from "../../gen/google/rpc/status_pb.ts";
import { AdminService } from "../../gen/metering/admin/v1/admin_service_pb.ts";
import { KeyService } from "../../gen/metering/admin/v1/key_service_pb.ts";
import { OperationsService } from "../../gen/metering/admin/v1/operations_service_pb.ts";
import { TokenService } from "../../gen/metering/admin/v1/token_service_pb.ts";
import { MeteringService } from "../../gen/metering/v1/metering_service_pb.ts";
import type { Certificates } from "../app/ports/certificates.ts";
import type { Clock } from "../app/ports/clock.ts";
import type { CallContext } from "../app/usage-request.ts";
import { MeteringError } from "../domain/errors.ts";
import type { AdminHandlers } from "./admin-handlers.ts";
import { Call, type HangUpWatch } from "./call.ts";
import { Edge, type EdgeOptions, FailedCall, type RpcName } from "./edge.ts";
import { toErrorStatus, toStatusMessage } from "./error-status.ts";
import { grpcCredentials } from "./grpc-credentials.ts";
import { GrpcGate, type GrpcStatus, headerReader } from "./grpc-gate.ts";
import { GrpcIntrospection } from "./grpc-introspection.ts";
import { encodeMessage, grpcServiceDefinition, rememberingEncoder } from "./grpc-service.ts";
import type { MeteringHandlers } from "./handlers.ts";
import type { KeyHandlers } from "./key-handlers.ts";
import type { OperationsHandlers } from "./operations-handlers.ts";
import { REQUEST_ID_HEADER } from "./request-ids.ts";
import type { TokenHandlers } from "./token-handlers.ts";

/** Largest request message, in bytes. */
export const MESSAGE_MAX_BYTES = 1_048_576;

/** How connections are kept. */
export interface GrpcConnectionOptions {
  /** A silent connection is pinged after this long, and closed when the ping is not answered in keepaliveTimeoutMs. */
  readonly keepaliveTimeMs: number;
  readonly keepaliveTimeoutMs: number;
  /** Most calls under way on one connection, streams among them; clients hold back further ones. */
  readonly maxConcurrentStreams: number;
}

/** Ping after 30 s, 10 s for the answer, 1,000 calls a connection. */
export const DEFAULT_GRPC_CONNECTION: GrpcConnectionOptions = {
  keepaliveTimeMs: 30_000,
  keepaliveTimeoutMs: 10_000,
  maxConcurrentStreams: 1000,
};

export interface GrpcServerOptions extends Omit<EdgeOptions, "transport"> {
  readonly handlers: MeteringHandlers;
  /** Undefined: metering.admin.v1 is not served. */
  readonly admin?: AdminHandlers | undefined;
  /** Undefined: metering.admin.v1.KeyService is not served. */
  readonly keys?: KeyHandlers | undefined;
  readonly operations?: OperationsHandlers | undefined;
  readonly tokens?: TokenHandlers | undefined;
  readonly connection: GrpcConnectionOptions;
  /** Whether strangers are told which services and messages there are. Default: yes. */
  readonly reflection?: boolean;
  /** Undefined: plain text. */
  readonly certificates?: Certificates | undefined;
}

/** metering.v1.MeteringService, metering.admin.v1.AdminService where it is wanted, health, and reflection where that is. Those two are for everybody: they tell nothing of anybody's usage. */
export class GrpcServer {
  readonly #server: Server;
  readonly #edge: Edge;
  readonly #gate: GrpcGate;
  readonly #clock: Clock;
  readonly #credentials: ServerCredentials;
  readonly #introspection: GrpcIntrospection;
  #address: string | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: GrpcServerOptions) {
    const { handlers, admin, keys, operations, tokens, connection } = options;
    this.#edge = new Edge({ ...options, transport: "grpc" });
    this.#gate = new GrpcGate(this.#edge, toServiceError);
    this.#clock = options.clock;
    this.#credentials = grpcCredentials(options.certificates);
    this.#server = new Server({
      "grpc.max_receive_message_length": MESSAGE_MAX_BYTES,
      "grpc.max_concurrent_streams": connection.maxConcurrentStreams,
      "grpc.keepalive_time_ms": connection.keepaliveTimeMs,
      "grpc.keepalive_timeout_ms": connection.keepaliveTimeoutMs,
      // Per-call bookkeeping for a debugging service that is not served.
      "grpc.enable_channelz": 0,
      interceptors: options.access === undefined ? [] : [this.#gate.intercept],
    });
    const { method } = MeteringService;
    this.#server.addService(grpcServiceDefinition(MeteringService), {
      recordUsage: this.#unary("RecordUsage", method.recordUsage, (r, call) => handlers.recordUsage(r, call)),
      batchRecordUsage: this.#unary("BatchRecordUsage", method.batchRecordUsage, (r, call) =>
        handlers.batchRecordUsage(r, call),
      ),
      getUsage: this.#unary("GetUsage", method.getUsage, (r, context) => handlers.getUsage(r, context)),
      checkLimits: this.#unary("CheckLimits", method.checkLimits, (r) => handlers.checkLimits(r)),
      streamUsage: this.#stream("StreamUsage", method.streamUsage, (r, context) => handlers.streamUsage(r, context)),
    });
    if (admin !== undefined) this.#addAdmin(admin);
    if (keys !== undefined) this.#addKeys(keys);
    if (operations !== undefined) this.#addOperations(operations);
    if (tokens !== undefined) this.#addTokens(tokens);
    const services = [
      MeteringService,
      ...(admin === undefined ? [] : [AdminService]),
      ...(keys === undefined ? [] : [KeyService]),
      ...(operations === undefined ? [] : [OperationsService]),
      ...(tokens === undefined ? [] : [TokenService]),
    ];
    this.#introspection = new GrpcIntrospection(this.#server, services, { reflection: options.reflection });
  }

  #addAdmin(admin: AdminHandlers): void {
    this.#server.addService(grpcServiceDefinition(AdminService), {
      voidRecord: this.#unary("VoidRecord", AdminService.method.voidRecord, (r) => admin.voidRecord(r)),
    });
  }

  #addKeys(keys: KeyHandlers): void {
    const { method } = KeyService;
    this.#server.addService(grpcServiceDefinition(KeyService), {
      createKey: this.#unary("CreateKey", method.createKey, (r) => keys.createKey(r)),
      getKey: this.#unary("GetKey", method.getKey, (r) => keys.getKey(r)),
      listKeys: this.#unary("ListKeys", method.listKeys, (r) => keys.listKeys(r)),
      updateKey: this.#unary("UpdateKey", method.updateKey, (r) => keys.updateKey(r)),
      deleteKey: this.#unary("DeleteKey", method.deleteKey, (r) => keys.deleteKey(r)),
    });
  }

  #addOperations(operations: OperationsHandlers): void {
    const { method } = OperationsService;
    this.#server.addService(grpcServiceDefinition(OperationsService), {
      getOverview: this.#unary("GetOverview", method.getOverview, () => operations.getOverview()),
    });
  }

  #addTokens(tokens: TokenHandlers): void {
    const { method } = TokenService;
    this.#server.addService(grpcServiceDefinition(TokenService), {
      createToken: this.#unary("CreateToken", method.createToken, (r) => tokens.createToken(r)),
      listTokens: this.#unary("ListTokens", method.listTokens, (r) => tokens.listTokens(r)),
      revokeToken: this.#unary("RevokeToken", method.revokeToken, (r) => tokens.revokeToken(r)),
      createDashboardToken: this.#unary("CreateDashboardToken", method.createDashboardToken, (r) =>
        tokens.createDashboardToken(r),
      ),
      revokeDashboardTokens: this.#unary("RevokeDashboardTokens", method.revokeDashboardTokens, (r) =>
        tokens.revokeDashboardTokens(r),
      ),
    });
  }

  /** Listens; 0 takes a free port. Resolves to the port. Health stays NOT_SERVING until setServing(true). */
  async start(port: number, host: string): Promise<number> {
    const hostPart = host.includes(":") ? `[${host}]` : host;
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(`${hostPart}:${port}`, this.#credentials, (error, boundPort) => {
        if (error !== null) {
          reject(error);
          return;
        }
        this.#address = `${hostPart}:${boundPort}`;
        resolve(boundPort);
      });
    });
  }

  /** See Edge. */
  endUnheldStreams(): void {
    this.#edge.endUnheldStreams();
  }

  /** What health checks are told. */
  setServing(serving: boolean): void {
    this.#introspection.setServing(serving);
  }

  /**
   * NOT_SERVING, no new connections, streams end with `draining`, unary calls under way finish; what is left after `graceMs` is cut.
   * All callers get one promise, which never rejects.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async #stop(graceMs: number): Promise<void> {
    this.setServing(false);
    this.#edge.drain();
    this.#introspection.endStreams();
    // forceShutdown() alone cuts no connection where channelz is off; drain() does, when its time is over.
    if (this.#address !== undefined) this.#server.drain(this.#address, graceMs);
    const allEnded = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    let timer: NodeJS.Timeout | undefined;
    const graceOver = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([allEnded, graceOver]);
    clearTimeout(timer);
    this.#server.forceShutdown();
  }

  #callOf(grpcCall: ServerUnaryCall<Buffer, Buffer> | ServerWritableStream<Buffer, Buffer>): Call {
    const watch: HangUpWatch = (hungUp) => {
      if (grpcCall.cancelled) hungUp();
      else grpcCall.on("cancelled", hungUp);
    };
    const call = new Call(watch, headerReader(grpcCall.metadata));
    this.#gate.pass(call, grpcCall.metadata);
    return call;
  }

  #unary<I extends DescMessage, O extends DescMessage>(
    rpc: RpcName,
    method: DescMethodUnary<I, O>,
    handle: (request: MessageShape<I>, call: Call) => Promise<MessageShape<O>>,
  ) {
    const encode = rememberingEncoder(method.output);
    return (grpcCall: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
      const call = this.#callOf(grpcCall);
      const work = () => {
        const request = decode(method.input, call, grpcCall.request);
        this.#edge.requireCustomer(rpc, call);
        return handle(request, call).then(encode);
      };
      this.#edge.unary(rpc, call, timeoutMsOf(grpcCall, this.#clock), work).then(
        (bytes) => callback(null, bytes),
        (error: unknown) => callback(toServiceError(error)),
      );
    };
  }

  #stream<I extends DescMessage, O extends DescMessage>(
    rpc: RpcName,
    method: DescMethodStreaming<I, O>,
    handle: (request: MessageShape<I>, context: CallContext) => AsyncIterable<MessageShape<O>>,
  ) {
    return async (grpcCall: ServerWritableStream<Buffer, Buffer>) => {
      const call = this.#callOf(grpcCall);
      let release = () => {};
      call.signal.addEventListener("abort", () => release(), { once: true });
      try {
        const work = () => {
          const request = decode(method.input, call, grpcCall.request);
          this.#edge.requireCustomer(rpc, call);
          return encodeEach(method.output, handle(request, call));
        };
        for await (const bytes of this.#edge.stream(rpc, call, work)) {
          // One message in flight: a slow reader holds the next read back, and so costs no queue.
          await new Promise<void>((written) => {
            release = written;
            grpcCall.write(bytes, () => written());
            // A write to a caller that left is never called back.
            if (call.signal.aborted) written();
          });
          if (call.left) break;
        }
        grpcCall.end();
      } catch (error) {
        grpcCall.emit("error", toServiceError(error));
      }
    };
  }
}

function decode<Desc extends DescMessage>(desc: Desc, call: Call, bytes: Buffer): MessageShape<Desc> {
  try {
    const request = fromBinary(desc, bytes);
    call.request = request;
    return request;
  } catch (cause) {
    const description = `must be an encoded ${desc.typeName}`;
    const violations = [{ field: "", description }];
    throw new MeteringError({ kind: "invalid_request", violations }, `the request ${description}`, { cause });
  }
}

async function* encodeEach<Desc extends DescMessage>(desc: Desc, messages: AsyncIterable<MessageShape<Desc>>) {
  for await (const message of messages) yield encodeMessage(desc, message);
}

/** Milliseconds that the caller left of its own deadline; undefined where it set none. */
function timeoutMsOf(call: ServerUnaryCall<Buffer, Buffer>, clock: Clock): number | undefined {
  const deadline = call.getDeadline();
  return deadline === Infinity ? undefined : Math.max(Number(deadline) - clock.nowMs(), 0);
}

function toServiceError(error: unknown): GrpcStatus {
  const status = error instanceof FailedCall ? error.status : toErrorStatus(error);
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", encodeMessage(StatusSchema, toStatusMessage(status)));
  if (error instanceof FailedCall) metadata.set(REQUEST_ID_HEADER, error.requestId);
  return { code: status.code, details: status.message, metadata };
}

// Connect (JSON and binary) and gRPC-Web, for browsers and curl, over HTTP/1.1. The same handlers and errors as gRPC.
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { createRegistry, type Message } from "@bufbuild/protobuf";
import {
  ConnectError,
  type ConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.ts";
import { AdminService } from "../../gen/metering/admin/v1/admin_service_pb.ts";
import { KeyService } from "../../gen/metering/admin/v1/key_service_pb.ts";
import { OperationsService } from "../../gen/metering/admin/v1/operations_service_pb.ts";
import { TokenService } from "../../gen/metering/admin/v1/token_service_pb.ts";
import { MeteringService } from "../../gen/metering/v1/metering_service_pb.ts";
import type { AdminHandlers } from "./admin-handlers.ts";
import { Call, type HangUpWatch } from "./call.ts";
import { answerCors } from "./cors.ts";
import { Edge, type EdgeOptions, FailedCall, type RpcName } from "./edge.ts";
import { type ErrorStatus, toErrorStatus } from "./error-status.ts";
import { MESSAGE_MAX_BYTES } from "./grpc-server.ts";
import type { MeteringHandlers } from "./handlers.ts";
import type { KeyHandlers } from "./key-handlers.ts";
import type { OperationsHandlers } from "./operations-handlers.ts";
import { REQUEST_ID_HEADER } from "./request-ids.ts";
import type { TokenHandlers } from "./token-handlers.ts";

/** Answers a request. */
export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void;

export interface ConnectServerOptions extends Omit<EdgeOptions, "transport"> {
  readonly handlers: MeteringHandlers;
  /** Undefined: metering.admin.v1 is not served. */
  readonly admin?: AdminHandlers | undefined;
  /** Undefined: metering.admin.v1.KeyService is not served. */
  readonly keys?: KeyHandlers | undefined;
  readonly operations?: OperationsHandlers | undefined;
  readonly tokens?: TokenHandlers | undefined;
  /** Answers what is no RPC; a 404 in JSON where there is none. */
  readonly fallback?: HttpHandler;
  /** Origins of pages elsewhere that may call. */
  readonly corsOrigins?: readonly string[];
  /** Default: plain text. */
  readonly createServer?: (options: ServerOptions, listener: RequestListener) => Server;
}

const JSON_OPTIONS = {
  // The errors of a batch's items carry these as google.protobuf.Any.
  registry: createRegistry(ErrorInfoSchema, BadRequestSchema, RetryInfoSchema, RequestInfoSchema),
  // A misspelled field is refused: dropped, it would be usage that nobody ever bills.
  ignoreUnknownFields: false,
};

/** What a call of the adapter's stems from, and what it is to the edge. */
const INCOMING = createContextKey<IncomingMessage | undefined>(undefined);
const CALL = createContextKey<Call | undefined>(undefined);

/** A request must have come in whole by then. */
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
const IDLE_CHECK_MS = 50;

/** metering.v1.MeteringService, and metering.admin.v1.AdminService where it is wanted, over Connect and gRPC-Web. */
export class ConnectServer {
  readonly #server: Server;
  readonly #edge: Edge;
  #stopped: Promise<void> | undefined;

  constructor(options: ConnectServerOptions) {
    this.#edge = new Edge({ ...options, transport: "connect" });
    const adapter = connectNodeAdapter({
      routes: (router) => {
        this.#route(router, options);
        if (options.keys !== undefined) this.#routeKeys(router, options.keys);
        if (options.tokens !== undefined) this.#routeTokens(router, options.tokens);
      },
      readMaxBytes: MESSAGE_MAX_BYTES,
      jsonOptions: JSON_OPTIONS,
      contextValues: (request) => createContextValues().set(INCOMING, request as IncomingMessage),
      requestGate: (context) => this.#letIn(context),
      fallback: (request, response) => {
        (options.fallback ?? notFound)(request as IncomingMessage, response as ServerResponse);
      },
    });
    const timeouts = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: HEADERS_TIMEOUT_MS };
    const { corsOrigins = [], logger } = options;
    this.#server = (options.createServer ?? createServer)(timeouts, (request, response) => {
      if (answerCors(corsOrigins, request, response)) return;
      try {
        adapter(request, response);
      } catch (err) {
        // It makes a URL of whatever Host was sent, if any was, before it knows the caller: uncaught, a stranger's "Host: [" ends the process.
        logger.info({ err, transport: "connect" }, "a request that is none");
        answerJson(response, 400, "invalid_argument", "the request cannot be read: is its Host a host?");
      }
    });
  }

  /** Listens; 0 takes a free port. Resolves to the port. */
  async start(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(port, host, () => {
        this.#server.off("error", reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  /** See Edge. */
  endUnheldStreams(): void {
    this.#edge.endUnheldStreams();
  }

  /**
   * No new connections, streams end with `draining`, unary calls under way finish; what is left after `graceMs` is cut.
   * All callers get one promise, which never rejects.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async #stop(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#edge.drain();
    // close() leaves open the connections that are busy now, and does not look again when they fall idle.
    const idle = setInterval(() => this.#server.closeIdleConnections(), IDLE_CHECK_MS);
    const graceOver = setTimeout(() => this.#server.closeAllConnections(), graceMs);
    await closed;
    clearInterval(idle);
    clearTimeout(graceOver);
  }

  #route(router: ConnectRouter, { handlers, admin, operations }: ConnectServerOptions): void {
    router.service(MeteringService, {
      recordUsage: (r, context) => this.#unary("RecordUsage", r, context, (call) => handlers.recordUsage(r, call)),
      batchRecordUsage: (r, context) =>
        this.#unary("BatchRecordUsage", r, context, (call) => handlers.batchRecordUsage(r, call)),
      getUsage: (r, context) => this.#unary("GetUsage", r, context, (call) => handlers.getUsage(r, call)),
      checkLimits: (r, context) => this.#unary("CheckLimits", r, context, () => handlers.checkLimits(r)),
      streamUsage: (r, context) => this.#stream("StreamUsage", r, context, (call) => handlers.streamUsage(r, call)),
    });
    if (admin !== undefined) {
      router.service(AdminService, {
        voidRecord: (r, context) => this.#unary("VoidRecord", r, context, () => admin.voidRecord(r)),
      });
    }
    if (operations !== undefined) {
      router.service(OperationsService, {
        getOverview: (r, context) => this.#unary("GetOverview", r, context, () => operations.getOverview()),
      });
    }
  }

  #routeKeys(router: ConnectRouter, keys: KeyHandlers): void {
    router.service(KeyService, {
      createKey: (r, context) => this.#unary("CreateKey", r, context, () => keys.createKey(r)),
      getKey: (r, context) => this.#unary("GetKey", r, context, () => keys.getKey(r)),
      listKeys: (r, context) => this.#unary("ListKeys", r, context, () => keys.listKeys(r)),
      updateKey: (r, context) => this.#unary("UpdateKey", r, context, () => keys.updateKey(r)),
      deleteKey: (r, context) => this.#unary("DeleteKey", r, context, () => keys.deleteKey(r)),
    });
  }

  #routeTokens(router: ConnectRouter, tokens: TokenHandlers): void {
    router.service(TokenService, {
      createToken: (r, context) => this.#unary("CreateToken", r, context, () => tokens.createToken(r)),
      listTokens: (r, context) => this.#unary("ListTokens", r, context, () => tokens.listTokens(r)),
      revokeToken: (r, context) => this.#unary("RevokeToken", r, context, () => tokens.revokeToken(r)),
      createDashboardToken: (r, context) =>
        this.#unary("CreateDashboardToken", r, context, () => tokens.createDashboardToken(r)),
      revokeDashboardTokens: (r, context) =>
        this.#unary("RevokeDashboardTokens", r, context, () => tokens.revokeDashboardTokens(r)),
    });
  }

  /** Before a byte of the body is read: whoever may not call has nothing decompressed, decoded or kept here. */
  async #letIn(context: HandlerContext): Promise<void> {
    const call = makeCall(context);
    context.values.set(CALL, call);
    try {
      // Those of scopes.ts, by their names in the proto.
      await this.#edge.letIn(context.method.name as RpcName, call);
    } catch (error) {
      throw toConnectError(error);
    }
  }

  async #unary<O>(
    rpc: RpcName,
    request: Message,
    context: HandlerContext,
    work: (call: Call) => Promise<O>,
  ): Promise<O> {
    const call = callOf(request, context);
    try {
      return await this.#edge.unary(rpc, call, context.timeoutMs(), () => {
        this.#edge.requireCustomer(rpc, call);
        return work(call);
      });
    } catch (error) {
      throw toConnectError(error);
    }
  }

  async *#stream<O>(
    rpc: RpcName,
    request: Message,
    context: HandlerContext,
    work: (call: Call) => AsyncIterable<O>,
  ): AsyncGenerator<O, void, undefined> {
    const call = callOf(request, context);
    try {
      yield* this.#edge.stream(rpc, call, () => {
        this.#edge.requireCustomer(rpc, call);
        return work(call);
      });
    } catch (error) {
      throw toConnectError(error);
    }
  }
}

/** Headers as they came: the adapter's drop all but the first of some that came twice, and so might see another than a proxy saw. */
function makeCall({ signal, values }: HandlerContext): Call {
  const watch: HangUpWatch = (hungUp) => {
    if (signal.aborted) hungUp();
    else signal.addEventListener("abort", hungUp, { once: true });
  };
  return new Call(watch, (name) => values.get(INCOMING)?.headersDistinct[name]?.join(", "));
}

function callOf(request: Message, { values }: HandlerContext): Call {
  const call = values.get(CALL);
  if (call === undefined) throw new Error("a call came past the gate");
  call.request = request;
  return call;
}

function toConnectError(error: unknown): ConnectError {
  const status: ErrorStatus = error instanceof FailedCall ? error.status : toErrorStatus(error);
  const { code, message, details } = status;
  const metadata = error instanceof FailedCall ? { [REQUEST_ID_HEADER]: error.requestId } : undefined;
  return new ConnectError(message, code as number, metadata, [...details]);
}

function notFound(_request: IncomingMessage, response: ServerResponse): void {
  answerJson(response, 404, "unimplemented", "nothing is served at this path");
}

function answerJson(response: ServerResponse, status: number, code: string, message: string): void {
  const body = JSON.stringify({ code, message });
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  response.writeHead(status, headers).end(body);
}

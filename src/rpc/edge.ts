// What is done around every call, whatever transport and RPC: its deadline, its end, one log line if it failed, its metric.
import { status as Code } from "@grpc/grpc-js";
import type { Clock } from "../app/ports/clock.ts";
import type { Span, Tracing } from "../app/ports/tracing.ts";
import { ANYBODY, type Caller } from "../domain/access.ts";
import { MeteringError } from "../domain/errors.ts";
import { type Access, unauthenticated } from "./access.ts";
import type { Call } from "./call.ts";
import { DashboardShares } from "./dashboard-shares.ts";
import { type Deadline, Deadlines } from "./deadlines.ts";
import { type ErrorStatus, toErrorStatus, withRequestId } from "./error-status.ts";
import { idsOf, requestIdOf } from "./request-ids.ts";
import { requireCustomer, requireScope } from "./scopes.ts";

/** Of metering.v1.MeteringService, and after it of metering.admin.v1.AdminService. */
export type RpcName =
  | ("RecordUsage" | "BatchRecordUsage" | "GetUsage" | "CheckLimits" | "StreamUsage")
  | ("VoidRecord" | "GetOverview")
  | KeyRpcName
  | TokenRpcName;

/** Of metering.admin.v1.KeyService. */
export type KeyRpcName = "CreateKey" | "GetKey" | "ListKeys" | "UpdateKey" | "DeleteKey";

/** Of metering.admin.v1.TokenService. */
export type TokenRpcName =
  | "CreateToken"
  | "ListTokens"
  | "RevokeToken"
  | "CreateDashboardToken"
  | "RevokeDashboardTokens";

/** Where calls are counted and timed. Called synchronously on the hot path: must be cheap and must not throw. */
export interface RpcObserver {
  /** `code` is a canonical name such as "OK" or "ALREADY_EXISTS"; "CANCELLED" where the caller hung up. */
  callEnded(rpc: RpcName, code: string, durationMs: number): void;
  /** One record of RecordUsage or BatchRecordUsage: "recorded", "duplicate", or the ErrorReason that it failed with. */
  recordEnded(result: string): void;
  /** `change` is +1 or -1. */
  openStreams(change: number): void;
}

/** The part of a structured logger (pino's, for one) that is used here. */
export interface RpcLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface EdgeOptions {
  /** Named in log lines: "grpc" or "connect". */
  readonly transport: string;
  readonly clock: Clock;
  readonly logger: RpcLogger;
  readonly observer: RpcObserver;
  readonly limits: CallLimits;
  /** Undefined: whoever reaches the port may do everything. */
  readonly access?: Access | undefined;
  /** A string that nobody else makes: the id of a failed call whose caller gave none. */
  readonly randomId: () => string;
  readonly tracing?: Tracing | undefined;
}

/** Bounds of calls. See DEFAULT_CALL_LIMITS. */
export interface CallLimits {
  /** Given to unary calls that come without a deadline. Milliseconds. */
  readonly defaultDeadlineMs: number;
  /** No unary call lasts longer. Milliseconds. */
  readonly maxDeadlineMs: number;
  /** Most StreamUsage calls open at once on one server. */
  readonly maxStreams: number;
  /** A stream whose reader takes no event for this long is ended. Milliseconds. */
  readonly readerTimeoutMs: number;
}

/** 10 s, 60 s, 10,000 streams, 60 s. */
export const DEFAULT_CALL_LIMITS: CallLimits = {
  defaultDeadlineMs: 10_000,
  maxDeadlineMs: 60_000,
  maxStreams: 10_000,
  readerTimeoutMs: 60_000,
};

const DRAIN_RETRY_MS = 1000;
const FULL_RETRY_MS = 5000;

/** Codes that an operator should hear of; the rest is the caller's to mend. */
const OPERATORS_CODES: ReadonlySet<Code> = new Set([Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED]);

/** What the calls of an Edge reject with: the status to send. Logged and counted already. */
export class FailedCall extends Error {
  override readonly name = "FailedCall";
  readonly status: ErrorStatus;
  /** Stands in the log line, and in the status. */
  readonly requestId: string;

  constructor(status: ErrorStatus, requestId: string) {
    super(status.message);
    this.status = withRequestId(status, requestId);
    this.requestId = requestId;
  }
}

/** The edge of one server. */
export class Edge {
  readonly #options: EdgeOptions;
  readonly #deadlines: Deadlines;
  readonly #streams = new Set<Call>();
  readonly #shares: DashboardShares;
  #draining = false;

  constructor(options: EdgeOptions) {
    this.#options = options;
    this.#shares = new DashboardShares(options.limits.maxStreams);
    this.#deadlines = new Deadlines(() => options.clock.monotonicMs());
  }

  /**
   * Lets the caller in, or not, by its headers alone: before a transport reads and decodes the request. unary() and stream() then only look
   * whether it still holds. Undefined where that is known at once. Throws or rejects with FailedCall.
   */
  letIn(rpc: RpcName, call: Call): Promise<void> | undefined {
    const startedMs = this.#options.clock.monotonicMs();
    const fail = (error: unknown): never => {
      const span = this.#startSpan(rpc, call);
      const failed = this.#fail(rpc, call, startedMs, error);
      if (span !== undefined) endSpan(span, failed);
      throw failed;
    };
    const passed = () => {
      call.wasLetIn = true;
    };
    try {
      const admitted = this.#admit(rpc, call);
      if (admitted !== undefined) return admitted.then(passed, fail);
    } catch (error) {
      fail(error);
    }
    passed();
    return undefined;
  }

  /** Runs a unary call to its end or its deadline. `timeoutMs`: what the caller left of its own deadline, undefined where it set none. */
  unary<T>(rpc: RpcName, call: Call, timeoutMs: number | undefined, work: () => Promise<T>): Promise<T> {
    const { clock, limits, observer } = this.#options;
    const startedMs = clock.monotonicMs();
    return new Promise((resolve, reject) => {
      let open = true;
      const span = this.#startSpan(rpc, call);
      const fail = (error: unknown) => {
        if (open) {
          open = false;
          this.#deadlines.remove(deadline);
          const failed = this.#fail(rpc, call, startedMs, error);
          if (span !== undefined) endSpan(span, failed);
          reject(failed);
        } else if (!(error instanceof MeteringError)) {
          this.#logBug({ rpc, requestId: requestIdOf(call.header, this.#options.randomId) }, call, error);
        }
      };
      const succeed = (answer: T) => {
        if (!open) return;
        open = false;
        this.#deadlines.remove(deadline);
        observer.callEnded(rpc, "OK", clock.monotonicMs() - startedMs);
        if (span !== undefined) endSpan(span);
        resolve(answer);
      };
      const passed = () => {
        const error = tooLate();
        call.end(error);
        fail(error);
      };
      const inTurn = () => {
        const { dashboard } = call.caller;
        if (dashboard === undefined) return work();
        // The deadline may have passed in line: then nobody waits for the answer.
        return this.#shares.read(dashboard, () => (open ? work() : Promise.reject(tooLate())));
      };
      const atMs = startedMs + Math.min(timeoutMs ?? limits.defaultDeadlineMs, limits.maxDeadlineMs);
      const deadline: Deadline = { atMs, passed };
      this.#deadlines.add(deadline);
      try {
        const admitted = this.#admit(rpc, call);
        (admitted === undefined ? inTurn() : admitted.then(inTurn)).then(succeed, fail);
      } catch (error) {
        fail(error);
      }
    });
  }

  /** Runs a stream until it ends, its reader stops, its caller leaves, or the server drains: then it fails with `draining`. */
  async *stream<T>(rpc: RpcName, call: Call, work: () => AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    const { clock, observer } = this.#options;
    const startedMs = clock.monotonicMs();
    let code: string = "CANCELLED";
    const span = this.#startSpan(rpc, call);
    let failed: FailedCall | undefined;
    let hasShare = false;
    this.#streams.add(call);
    observer.openStreams(+1);
    try {
      await this.#admit(rpc, call);
      this.#admitStream();
      hasShare = this.#shares.takeStream(call.caller);
      if (!hasShare) throw tooManyStreams("the dashboards of this customer hold as many streams as they may");
      yield* this.#pace(call, work());
      if (call.reason !== undefined) throw call.reason;
      if (!call.left) code = "OK";
    } catch (error) {
      if (call.left && error instanceof MeteringError) return;
      failed = this.#report(rpc, call, startedMs, error);
      code = Code[failed.status.code];
      throw failed;
    } finally {
      this.#streams.delete(call);
      if (hasShare) this.#shares.giveStreamBack(call.caller);
      observer.openStreams(-1);
      observer.callEnded(rpc, code, clock.monotonicMs() - startedMs);
      if (span !== undefined) endSpan(span, failed);
    }
  }

  /** Gives up a reader that takes nothing: what its stream holds is let go at once, and the status waits for it behind what it left lying. */
  async *#pace<T>(call: Call, source: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    const { clock, limits } = this.#options;
    const events = source[Symbol.asyncIterator]();
    const passed = () => {
      call.end(readerTooSlow());
      this.#streams.delete(call);
      // It is at rest between two events, so it ends now.
      void events.return?.();
    };
    try {
      for (let next = await events.next(); next.done !== true; next = await events.next()) {
        const deadline: Deadline = { atMs: clock.monotonicMs() + limits.readerTimeoutMs, passed };
        this.#deadlines.add(deadline);
        try {
          yield next.value;
        } finally {
          this.#deadlines.remove(deadline);
        }
      }
    } finally {
      await events.return?.();
    }
  }

  /** Ends every stream, and refuses new ones, with `draining`. Unary calls go on. */
  drain(): void {
    this.#draining = true;
    for (const call of this.#streams) call.end(draining());
  }

  #startSpan(rpc: RpcName, call: Call): Span | undefined {
    const { tracing, transport, access } = this.#options;
    if (tracing === undefined) return undefined;
    // A stranger neither writes into anybody's trace nor decides that every call it is refused is sent to the collector.
    const isKnown = access === undefined || call.wasLetIn;
    const attributes = { "rpc.system": transport, "rpc.method": rpc };
    const span = tracing.start({
      name: rpc,
      kind: "server",
      parent: isKnown ? call.header("traceparent") : undefined,
      attributes,
    });
    call.traceparent = span.traceparent;
    return span;
  }

  /** Ends the streams of callers whose credential ended. */
  endUnheldStreams(): void {
    const { access } = this.#options;
    if (access === undefined) return;
    for (const call of this.#streams)
      if (call.caller !== ANYBODY && !access.holds(call.caller)) call.end(unauthenticated());
  }

  /** To be called with `call.request` set, before anything else looks at the request. Throws `customer_not_allowed`. */
  requireCustomer(rpc: RpcName, call: Call): void {
    if (call.request !== undefined) requireCustomer(rpc, call.caller, call.request);
  }

  /** Finds out who calls. Undefined where that is known at once. Throws or rejects where the caller may not make this call. */
  #admit(rpc: RpcName, call: Call): Promise<void> | undefined {
    const { access } = this.#options;
    if (call.wasLetIn) {
      // Meanwhile the request came in, at the caller's leisure.
      if (access?.holds(call.caller) === false) throw unauthenticated();
      return undefined;
    }
    const caller = access?.admit(call.header);
    if (caller === undefined) return undefined;
    const letIn = (known: Caller) => {
      call.caller = known;
      requireScope(rpc, known);
    };
    if (caller instanceof Promise) return caller.then(letIn);
    letIn(caller);
    return undefined;
  }

  #admitStream(): void {
    if (this.#draining) throw draining();
    if (this.#streams.size <= this.#options.limits.maxStreams) return;
    throw tooManyStreams("this server holds as many streams as it may");
  }

  #fail(rpc: RpcName, call: Call, startedMs: number, error: unknown): FailedCall {
    const { clock, observer } = this.#options;
    const failed = this.#report(rpc, call, startedMs, error);
    observer.callEnded(rpc, call.left ? "CANCELLED" : Code[failed.status.code], clock.monotonicMs() - startedMs);
    return failed;
  }

  /** Maps and logs; one line a failed call. Nobody is left to be told of a call whose caller hung up. */
  #report(rpc: RpcName, call: Call, startedMs: number, error: unknown): FailedCall {
    const { clock, logger, randomId } = this.#options;
    const requestId = requestIdOf(call.header, randomId);
    const failed = new FailedCall(toErrorStatus(error), requestId);
    const { status } = failed;
    const durationMs = Math.round((clock.monotonicMs() - startedMs) * 1000) / 1000;
    if (!(error instanceof MeteringError)) this.#logBug({ rpc, requestId, durationMs }, call, error);
    if (call.left || !(error instanceof MeteringError)) return failed;
    const fields = {
      ...this.#fieldsOf(rpc, call, Code[status.code]),
      reason: status.reason,
      requestId,
      durationMs,
      ...(error.cause !== undefined && { err: error.cause }),
    };
    if (OPERATORS_CODES.has(status.code)) logger.warn(fields, status.message);
    else logger.info(fields, status.message);
    return failed;
  }

  #logBug(known: { rpc: RpcName; requestId: string; durationMs?: number }, call: Call, err: unknown): void {
    const fields = this.#fieldsOf(known.rpc, call, "INTERNAL");
    this.#options.logger.error({ ...fields, reason: "INTERNAL", ...known, err }, "a call failed by a bug");
  }

  /** Its name, never its secret. */
  #callerOf({ caller }: Call): object {
    return caller.name === "" ? {} : { caller: caller.name };
  }

  #fieldsOf(rpc: RpcName, call: Call, code: string | undefined): object {
    // In a traceparent the trace's id stands second.
    const traceId = call.traceparent?.split("-")[1];
    return {
      rpc,
      transport: this.#options.transport,
      code,
      ...this.#callerOf(call),
      ...idsOf(call.request),
      ...(traceId !== undefined && { traceId }),
    };
  }
}

/** Only what the service is to blame for is an error of the span: a caller's mistake is the caller's. */
function endSpan(span: Span, failed?: FailedCall): void {
  if (failed === undefined) {
    span.end({ "rpc.status": "OK" });
    return;
  }
  const { code, reason, message } = failed.status;
  const attributes = { "rpc.status": Code[code], "error.reason": reason, "request.id": failed.requestId };
  span.end(attributes, code === Code.INTERNAL || OPERATORS_CODES.has(code) ? message : undefined);
}

function readerTooSlow(): MeteringError {
  const failure = { kind: "reader_too_slow", retryAfterMs: DRAIN_RETRY_MS } as const;
  return new MeteringError(failure, "the reader took nothing for too long; call again with the last resume_token");
}

function tooLate(): MeteringError {
  return new MeteringError({ kind: "deadline_exceeded" }, "the deadline passed before the answer was known");
}

function tooManyStreams(message: string): MeteringError {
  return new MeteringError({ kind: "too_many_streams", retryAfterMs: FULL_RETRY_MS }, message);
}

function draining(): MeteringError {
  return new MeteringError(
    { kind: "draining", retryAfterMs: DRAIN_RETRY_MS },
    "this server is shutting down; call again",
  );
}

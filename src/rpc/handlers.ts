// The RPCs of MeteringService, transport-neutral: message in, message out. Every rejection is a MeteringError, or a bug.
import { create } from "@bufbuild/protobuf";
import {
  type BatchRecordUsageRequest,
  type BatchRecordUsageResponse,
  type BatchRecordUsageResponse_Result,
  BatchRecordUsageResponse_ResultSchema,
  BatchRecordUsageResponseSchema,
  type CheckLimitsRequest,
  type CheckLimitsResponse,
  CheckLimitsResponseSchema,
  type GetUsageRequest,
  type GetUsageResponse,
  type RecordUsageRequest,
  type RecordUsageResponse,
  type StreamUsageRequest,
  type StreamUsageResponse,
} from "../../gen/metering/v1/metering_service_pb.ts";
import type { Limits } from "../app/limits.ts";
import type { Clock } from "../app/ports/clock.ts";
import type { RecordUsage } from "../app/record-usage.ts";
import type { CallContext, ReadUsage } from "../app/usage-request.ts";
import { type Caller, mayActFor } from "../domain/access.ts";
import { MeteringError } from "../domain/errors.ts";
import type { MeterCatalog } from "../domain/meter.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import { RecordResponses, toLimits, toUsageResponse, toWatchResponse } from "./convert.ts";
import type { RpcObserver } from "./edge.ts";
import { toErrorStatus, toStatusMessage } from "./error-status.ts";
import { customerNotAllowed } from "./scopes.ts";
import { toLimitQuestion } from "./validate-key.ts";
import { ReadValidator } from "./validate-read.ts";
import { RecordValidator } from "./validate-record.ts";

export interface HandlerDependencies {
  readonly recordUsage: RecordUsage;
  readonly readUsage: ReadUsage;
  /** Of GetUsage and CheckLimits. Undefined: no key has any. */
  readonly limits?: Pick<Limits, "now" | "check"> | undefined;
  readonly catalog: MeterCatalog;
  readonly clock: Clock;
  readonly observer: RpcObserver;
  /** Whether usage of all customers may be read at once. */
  readonly mayReadAll: boolean;
}

type TracedCall = Pick<CallContext, "traceparent">;

/** A batch is let in for whoever may record at all; each item then for its customer. */
type BatchCall = TracedCall & { readonly caller: Caller };

/** The records with the trace of their call; the same ones where it has none. */
function traced(records: readonly UsageRecord[], { traceparent }: TracedCall): readonly UsageRecord[] {
  return traceparent === undefined ? records : records.map((record) => ({ ...record, traceparent }));
}

/** One set of handlers serves every transport, so that they answer alike. */
export class MeteringHandlers {
  readonly #deps: HandlerDependencies;
  readonly #records: RecordValidator;
  readonly #reads: ReadValidator;
  readonly #responses = new RecordResponses();

  constructor(deps: HandlerDependencies) {
    this.#deps = deps;
    this.#records = new RecordValidator(deps.catalog, deps.clock);
    this.#reads = new ReadValidator(deps.catalog);
  }

  /** See the proto. */
  async recordUsage(request: RecordUsageRequest, context: TracedCall): Promise<RecordUsageResponse> {
    const record = this.#records.record(request);
    if (record instanceof MeteringError) throw this.#countFailure(record);
    const [answer] = await this.#deps.recordUsage.record(traced([record], context));
    if (answer === undefined) throw new Error("the intake gave no result for a record");
    if ("error" in answer) throw this.#countFailure(answer.error);
    this.#deps.observer.recordEnded(answer.outcome);
    return this.#responses.to(answer.outcome, answer.consistencyToken, answer.limits);
  }

  /** See the proto. Items that are invalid, or not the caller's to record, never reach the intake; the others go in one call, in order. */
  async batchRecordUsage(request: BatchRecordUsageRequest, context: BatchCall): Promise<BatchRecordUsageResponse> {
    const { caller } = context;
    const validated = this.#records.batch(request);
    const items =
      caller.customers === "all" ? validated : validated.map((item, i) => allowed(caller, request, item, i));
    const valid = items.filter((item): item is UsageRecord => !(item instanceof MeteringError));
    const answers = valid.length === 0 ? [] : await this.#deps.recordUsage.record(traced(valid, context));
    if (answers.length !== valid.length) throw new Error("the intake gave fewer results than there were records");
    const answersInOrder = answers.values();
    const results = items.map((item) => {
      if (item instanceof MeteringError) return this.#toFailedResult(item);
      const answer = answersInOrder.next().value;
      if (answer === undefined) throw new Error("fewer answers than records");
      if ("error" in answer) return this.#toFailedResult(answer.error);
      this.#deps.observer.recordEnded(answer.outcome);
      const value = this.#responses.to(answer.outcome, answer.consistencyToken, answer.limits);
      return toResult({ case: "response", value });
    });
    const response = create(BatchRecordUsageResponseSchema);
    response.results = results;
    return response;
  }

  /** See the proto. */
  async getUsage(request: GetUsageRequest, context: CallContext): Promise<GetUsageResponse> {
    const asked = this.#reads.usage(request);
    const answer = await this.#deps.readUsage.getUsage(asked, context);
    const { customerId, apiKeyId } = asked;
    // Read last, so that they are as of a moment when all that is in the totals was counted.
    const limits = apiKeyId === undefined ? undefined : await this.#deps.limits?.now({ customerId, apiKeyId });
    return toUsageResponse(answer, limits ?? []);
  }

  /** See the proto. */
  async checkLimits(request: CheckLimitsRequest): Promise<CheckLimitsResponse> {
    const limits = (await this.#deps.limits?.check(toLimitQuestion(request))) ?? [];
    return create(CheckLimitsResponseSchema, { limits: toLimits(limits) });
  }

  /** See the proto. Stops the use case's iterator when its reader stops. */
  async *streamUsage(request: StreamUsageRequest, context: CallContext): AsyncGenerator<StreamUsageResponse, void> {
    const { readUsage, mayReadAll } = this.#deps;
    const events =
      request.customerId === ""
        ? readUsage.watchAll(this.#reads.watchAll(request, mayReadAll), context)
        : readUsage.watchUsage(this.#reads.watch(request), context);
    for await (const event of events) yield toWatchResponse(event);
  }

  #toFailedResult(error: MeteringError): BatchRecordUsageResponse_Result {
    this.#countFailure(error);
    return toResult({ case: "error", value: toStatusMessage(toErrorStatus(error)) });
  }

  #countFailure(error: MeteringError): MeteringError {
    this.#deps.observer.recordEnded(toErrorStatus(error).reason);
    return error;
  }
}

/** The refusal first, whatever else is wrong with the item: who may not act for a customer learns nothing of it. */
function allowed<T>(caller: Caller, request: BatchRecordUsageRequest, item: T, i: number): T | MeteringError {
  return mayActFor(caller, request.requests[i]?.record?.customerId ?? "") ? item : customerNotAllowed();
}

function toResult(result: BatchRecordUsageResponse_Result["result"]): BatchRecordUsageResponse_Result {
  const message = create(BatchRecordUsageResponse_ResultSchema);
  message.result = result;
  return message;
}

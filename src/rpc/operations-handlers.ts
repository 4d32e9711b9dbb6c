// The RPCs of OperationsService, transport-neutral. Every rejection is a MeteringError, or a bug.
import { create } from "@bufbuild/protobuf";
import { durationFromMs, type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type GetOverviewResponse,
  GetOverviewResponseSchema,
  GetOverviewResponse_Intake as Intake,
} from "../../gen/metering/admin/v1/operations_service_pb.ts";
import type { Status } from "../app/ports/status.ts";

export interface OperationsOptions {
  /** Shared by all who ask: cheap however often. */
  readonly status: () => Promise<Status>;
  readonly stripeSimulated: boolean;
}

/** One set of handlers serves every transport, so that they answer alike. */
export class OperationsHandlers {
  readonly #options: OperationsOptions;

  constructor(options: OperationsOptions) {
    this.#options = options;
  }

  /** See the proto. */
  async getOverview(): Promise<GetOverviewResponse> {
    const { status, stripeSimulated } = this.#options;
    return toOverview(await status(), stripeSimulated);
  }
}

function toOverview(status: Status, stripeSimulated: boolean): GetOverviewResponse {
  const { intake, pending, reports, leader, stripeEvents } = status;
  const readTime = timeOf(status.now);
  return create(GetOverviewResponseSchema, {
    readTime,
    intake: intake === "redis" ? Intake.REDIS : intake === "postgres" ? Intake.POSTGRES : Intake.UNSPECIFIED,
    stripeSimulated,
    throughput: status.throughput.map(({ minute, records, tokens }) => ({
      startTime: timeOf(minute),
      records: BigInt(records),
      tokens: BigInt(tokens),
    })),
    ...(status.watermark !== null && { watermarkTime: timeOf(status.watermark) }),
    drainWorkers: [...status.drainWorkers],
    ...(leader !== null && {
      leader: {
        holder: leader.holder,
        epoch: BigInt(leader.epoch),
        expireTime: timestampFromMs(Date.parse(status.now) + leader.expiresInMs),
      },
    }),
    pending: {
      windows: BigInt(pending.windows),
      ...(pending.oldestWindowStart !== null && { oldestStartTime: timeOf(pending.oldestWindowStart) }),
      unmappedCustomers: BigInt(pending.unmappedCustomers),
      unmappedExamples: [...pending.unmappedExamples],
    },
    reports: {
      planned: BigInt(reports.planned),
      sending: BigInt(reports.sending),
      unknown: BigInt(reports.unknown),
      sent: BigInt(reports.sent),
      acceptedLastDay: BigInt(reports.acceptedLastDay),
      held: BigInt(reports.held),
    },
    held: status.held.map(({ reason, reports: count, example }) => ({
      reason,
      reports: BigInt(count),
      exampleIdentifier: example.identifier,
      exampleCustomerId: example.customerId,
      exampleMessage: example.message,
    })),
    deadlines: status.deadlines.flatMap(({ kind, tightestInMs, waiting, overdue }) =>
      tightestInMs === null
        ? []
        : [{ kind, tightest: durationFromMs(tightestInMs), waiting: BigInt(waiting), overdue: BigInt(overdue) }],
    ),
    ...differencesOf(status),
    refusedRecords: Object.fromEntries(
      Object.entries(status.refusedRecords).map(([reason, records]) => [reason, BigInt(records)]),
    ),
    webhooksWaiting: BigInt(stripeEvents.waiting),
    webhooksDead: BigInt(stripeEvents.dead),
  });
}

function differencesOf({ drifts, gaps }: Status) {
  return {
    drifts: drifts.map(({ explanation, hindrance, spans }) => ({ explanation, hindrance, spans: BigInt(spans) })),
    gaps: gaps.map(({ shard, lostFrom, lostTo, detectedAt }) => ({
      shard,
      ...(lostFrom !== null && { lostFromTime: timeOf(lostFrom) }),
      lostToTime: timeOf(lostTo),
      detectTime: timeOf(detectedAt),
    })),
  };
}

function timeOf(iso: string): Timestamp {
  return timestampFromMs(Date.parse(iso));
}

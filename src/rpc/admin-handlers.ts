// The RPCs of AdminService, transport-neutral. Every rejection is a MeteringError, or a bug.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  VoidOutcome,
  type VoidRecordRequest,
  type VoidRecordResponse,
  VoidRecordResponseSchema,
} from "../../gen/metering/admin/v1/admin_service_pb.ts";
import type { VoidLedger, VoidRequest } from "../app/ports/ledger.ts";
import { VOID_REASON_MAX, voidRecord } from "../app/void-record.ts";
import { ID_MAX, keyProblem, textProblem } from "./text-bounds.ts";
import { Violations } from "./violations.ts";

/** One set of handlers serves every transport, so that they answer alike. */
export class AdminHandlers {
  readonly #ledger: VoidLedger;

  constructor(ledger: VoidLedger) {
    this.#ledger = ledger;
  }

  /** See the proto. */
  async voidRecord(request: VoidRecordRequest): Promise<VoidRecordResponse> {
    const { outcome, measurements, eventTimeMs, voidedAtMs, reason } = await voidRecord(
      this.#ledger,
      toVoidRequest(request),
    );
    return create(VoidRecordResponseSchema, {
      outcome: outcome === "voided" ? VoidOutcome.VOIDED : VoidOutcome.ALREADY_VOIDED,
      voidedMeasurements: measurements.map(({ meter, quantity }) => ({ meter, quantity })),
      eventTime: timestampFromMs(eventTimeMs),
      voidTime: timestampFromMs(voidedAtMs),
      reason,
    });
  }
}

/** Throws `invalid_request` with all violations. */
function toVoidRequest({ customerId, idempotencyKey, reason }: VoidRecordRequest): VoidRequest {
  const found = new Violations();
  const problems: readonly (readonly [field: string, problem: string | undefined])[] = [
    ["customer_id", textProblem(customerId, 1, ID_MAX)],
    ["idempotency_key", keyProblem(idempotencyKey)],
    ["reason", textProblem(reason, 1, VOID_REASON_MAX)],
  ];
  for (const [field, problem] of problems) if (problem !== undefined) found.add("invalid_request", field, problem);
  const error = found.toError();
  if (error !== undefined) throw error;
  return { customerId, idempotencyKey, reason };
}

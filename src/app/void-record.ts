// The use case behind VoidRecord and `metering void`: a record that should not have been sent is taken back.
import { MeteringError } from "../domain/errors.ts";
import type { VoidedRecord, VoidLedger, VoidRequest } from "./ports/ledger.ts";

/** Longest reason, in characters (Unicode code points). */
export const VOID_REASON_MAX = 500;

export interface VoidAnswer extends VoidedRecord {
  /** Whether this call or an earlier one did it; the rest is the same in both cases. */
  readonly outcome: "voided" | "already_voided";
}

/**
 * Voids one record. From then on totals and pending windows are as if it had never been sent; what Stripe was told of it already, the next
 * flush takes back in the minute that it lay in. Throws `record_not_found`: it may be that the record waits in the buffer still, and a
 * repeat finds it.
 */
export async function voidRecord(ledger: VoidLedger, request: VoidRequest): Promise<VoidAnswer> {
  const result = await ledger.voidRecord(request);
  if (result.kind !== "not_found") return { outcome: result.kind, ...result.record };
  const { customerId, idempotencyKey } = request;
  throw new MeteringError(
    { kind: "record_not_found", customerId, idempotencyKey },
    "the ledger holds no record of this customer under this key: it was never recorded, has not left the buffer yet, or was " +
      "dropped after the retention",
  );
}

// The use case behind RecordUsage and BatchRecordUsage: hand records to the intake, answer with a token to read one's own write by.

import type { MeteringError } from "../domain/errors.ts";
import type { LimitStatus } from "../domain/limits.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import type { Limits } from "./limits.ts";
import type { OpaqueTokens } from "./opaque-tokens.ts";
import type { Intake } from "./ports/intake.ts";
import type { Tracing } from "./ports/tracing.ts";

/** How one record ended. */
export type RecordAnswer =
  | {
      readonly outcome: "recorded" | "duplicate";
      readonly consistencyToken: string;
      /** Of the record's API key, after this record. */
      readonly limits: readonly LimitStatus[];
    }
  | { readonly error: MeteringError };

/** What a deployment may go without. */
export interface RecordUsageExtras {
  /** Without them none are told. */
  readonly limits?: Limits | undefined;
  readonly tracing?: Tracing | undefined;
}

export class RecordUsage {
  readonly #intake: Intake;
  readonly #tokens: OpaqueTokens;
  readonly #limits: Limits | undefined;
  readonly #tracing: Tracing | undefined;

  constructor(intake: Intake, tokens: OpaqueTokens, { limits, tracing }: RecordUsageExtras = {}) {
    this.#intake = intake;
    this.#tokens = tokens;
    this.#limits = limits;
    this.#tracing = tracing;
  }

  /** Stores records; an answer for each, in order. See Intake.record. */
  async record(records: readonly UsageRecord[]): Promise<readonly RecordAnswer[]> {
    const parent = records[0]?.traceparent;
    // From the wait for a commit to what is on disk. A record belongs to one call, a commit to many.
    const span = parent === undefined ? undefined : this.#tracing?.start({ name: "intake", kind: "client", parent });
    const results = await this.#intake.record(records);
    span?.end({ "metering.records": records.length });
    return results.map((result, i) => {
      if ("error" in result) return result;
      const record = records[i];
      const limits = (record && this.#limits?.after(record, result.usage)) ?? [];
      return { outcome: result.outcome, consistencyToken: this.#tokens.consistencyToken(result.position), limits };
    });
  }
}

// The use case behind RecordUsage and BatchRecordUsage: hand records to the intake, answer with a token to read one's own write by.

import type { MeteringError } from "../domain/errors.ts";
import type { LimitStatus } from "../domain/limits.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import type { Limits } from "./limits.ts";
import type { OpaqueTokens } from "./opaque-tokens.ts";
import type { Intake } from "./ports/intake.ts";

/** How one record ended. */
export type RecordAnswer =
  | {
      readonly outcome: "recorded" | "duplicate";
      readonly consistencyToken: string;
      /** Of the record's API key, after this record. */
      readonly limits: readonly LimitStatus[];
    }
  | { readonly error: MeteringError };

export class RecordUsage {
  readonly #intake: Intake;
  readonly #tokens: OpaqueTokens;
  readonly #limits: Limits | undefined;

  /** Without `limits` none are told. */
  constructor(intake: Intake, tokens: OpaqueTokens, limits?: Limits) {
    this.#intake = intake;
    this.#tokens = tokens;
    this.#limits = limits;
  }

  /** Stores records; an answer for each, in order. See Intake.record. */
  async record(records: readonly UsageRecord[]): Promise<readonly RecordAnswer[]> {
    const results = await this.#intake.record(records);
    return results.map((result, i) => {
      if ("error" in result) return result;
      const record = records[i];
      const limits = (record && this.#limits?.after(record, result.usage)) ?? [];
      return { outcome: result.outcome, consistencyToken: this.#tokens.consistencyToken(result.position), limits };
    });
  }
}

// The use case behind RecordUsage and BatchRecordUsage: hand records to the intake, answer with a token to read one's own write by.

import type { MeteringError } from "../domain/errors.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import type { OpaqueTokens } from "./opaque-tokens.ts";
import type { Intake } from "./ports/intake.ts";

/** How one record ended. */
export type RecordAnswer =
  | { readonly outcome: "recorded" | "duplicate"; readonly consistencyToken: string }
  | { readonly error: MeteringError };

export class RecordUsage {
  readonly #intake: Intake;
  readonly #tokens: OpaqueTokens;

  constructor(intake: Intake, tokens: OpaqueTokens) {
    this.#intake = intake;
    this.#tokens = tokens;
  }

  /** Stores records; an answer for each, in order. See Intake.record. */
  async record(records: readonly UsageRecord[]): Promise<readonly RecordAnswer[]> {
    const results = await this.#intake.record(records);
    return results.map((result) =>
      "error" in result
        ? result
        : { outcome: result.outcome, consistencyToken: this.#tokens.consistencyToken(result.position) },
    );
  }
}

// The intake: where a record becomes durable. Two adapters, redis and postgres, under one contract suite.
import type { MeteringError } from "../../domain/errors.ts";
import type { KeyUsage } from "../../domain/limits.ts";
import type { UsageRecord } from "../../domain/usage-record.ts";

/** Where in its shard's stream a record was stored. */
export interface IntakePosition {
  readonly shard: number;
  readonly epoch: string;
  readonly entryId: string;
}

/** How one record ended. With `error`, nothing is known to be stored (see the error's kind). */
export type IntakeResult =
  | {
      readonly outcome: "recorded" | "duplicate";
      /** A position at or after the record; undefined where the answer already means "in the ledger". */
      readonly position: IntakePosition | undefined;
      /** What the record's API key has used, this commit included. Undefined where it has no limits, or what it used is not known now. */
      readonly usage?: KeyUsage | undefined;
    }
  | { readonly error: MeteringError };

export interface Intake {
  /**
   * Stores records, each once: resolves when all are on disk (P1), with a result for each, in order. Equal repeats are duplicates,
   * other records under a used key fail with `idempotency_key_reused`; each record ends alone. Never rejects for a store's failure:
   * that is `intake_unavailable` (unknown whether stored) or `intake_full` (not stored). Groups concurrent calls into few commits.
   */
  record(records: readonly UsageRecord[]): Promise<readonly IntakeResult[]>;
}

/** Whether the intake keeps promise P1, and why not. */
export interface Durability {
  readonly durable: boolean;
  /** One line an operator can act on; empty when durable. */
  readonly reason: string;
}

// Postgres intake: the ledger's apply, called directly. All records that wait go in one transaction.
import { GroupCommitLane } from "../app/group-commit.ts";
import type { Durability, Intake, IntakeResult } from "../app/ports/intake.ts";
import type { ApplyOutcome, Ledger } from "../app/ports/ledger.ts";
import { MeteringError } from "../domain/errors.ts";
import type { KeyUsage } from "../domain/limits.ts";
import type { UsageRecord } from "../domain/usage-record.ts";
import type { Pool } from "./pool.ts";

export interface PostgresIntakeOptions {
  /** Most records in one transaction. */
  readonly maxBatch: number;
  /** Most records waiting. */
  readonly maxWaiting: number;
  /** What the keys of records that were just committed have used, in their order; empty where none has limits. Must not reject. */
  readonly usages?: (records: readonly UsageRecord[]) => Promise<readonly (KeyUsage | undefined)[]>;
  /** Told why a commit failed; the callers learn only that the intake is away. */
  readonly onFailure: (cause: unknown) => void;
}

/** When a caller should come back after the ledger was away. */
const RETRY_AFTER_MS = 1_000;

export function postgresIntake(ledger: Ledger, options: PostgresIntakeOptions): Intake {
  const lane = new GroupCommitLane<UsageRecord, IntakeResult>({
    maxBatch: options.maxBatch,
    maxWaiting: options.maxWaiting,
    async commit(records) {
      const result = await ledger.apply(records);
      if (result.kind !== "applied") throw new Error("an apply without a cursor cannot find it moved");
      const usages = (await options.usages?.(records)) ?? [];
      return records.map((record, i) => toResult(record, result.outcomes[i], usages[i]));
    },
  });
  return {
    async record(records) {
      try {
        return await lane.submit(records);
      } catch (cause) {
        const error = cause instanceof MeteringError ? cause : unavailable(cause);
        if (error !== cause) options.onFailure(cause);
        return records.map(() => ({ error }));
      }
    },
  };
}

/** Whether a commit is on disk when it is acknowledged. Rejects when Postgres is away. */
export async function probePostgresDurability(pool: Pool): Promise<Durability> {
  const result = await pool.query<{ name: string; setting: string }>(
    "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
  );
  const off = result.rows.filter((row) => row.setting === "off").map((row) => row.name);
  const reason =
    off.length === 0 ? "" : `PostgreSQL runs with ${off.join(" and ")} off: an acknowledged record can be lost`;
  return { durable: off.length === 0, reason };
}

function toResult(record: UsageRecord, outcome: ApplyOutcome | undefined, usage: KeyUsage | undefined): IntakeResult {
  switch (outcome) {
    case "applied":
      return { outcome: "recorded", position: undefined, usage };
    case "duplicate":
      return { outcome: "duplicate", position: undefined, usage };
    case "key_reused":
      return { error: keyReused(record) };
    case "overflow":
      return { error: invalid("record.measurements", "a sum that this record belongs to would leave 64 bits") };
    case "unstorable":
      return { error: invalid("record", "the database cannot store this record") };
    case undefined:
      throw new Error("the ledger gave no outcome for a record");
  }
}

function keyReused({ customerId, idempotencyKey }: UsageRecord): MeteringError {
  const message = "this idempotency_key stands for a different record of this customer";
  return new MeteringError({ kind: "idempotency_key_reused", customerId, idempotencyKey }, message);
}

function invalid(field: string, description: string): MeteringError {
  const violations = [{ field, description }];
  return new MeteringError({ kind: "invalid_record", violations }, description);
}

function unavailable(cause: unknown): MeteringError {
  const message = "the intake is away; the record may or may not be stored: resend it with the same key";
  return new MeteringError({ kind: "intake_unavailable", retryAfterMs: RETRY_AFTER_MS }, message, { cause });
}

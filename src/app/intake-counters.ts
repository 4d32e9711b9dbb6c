// What keys used, as a buffered intake counted it; as of the ledger where the intake does not know.
import { type KeyRef, type KeyUsage, keyId } from "../domain/limits.ts";
import type { LimitSeeding } from "./limit-seeding.ts";
import type { IntakeLimits, LimitCounters } from "./ports/limits.ts";

export interface IntakeCountersOptions {
  readonly intake: Pick<IntakeLimits, "read">;
  /** All but what waits in the buffer. */
  readonly ledger: LimitCounters;
  readonly seeding: Pick<LimitSeeding, "want">;
  /** Told why the intake could not be read. */
  readonly onAway: (cause: unknown) => void;
}

/** Rejects only where both stores are away. */
export function intakeCounters({ intake, ledger, seeding, onAway }: IntakeCountersOptions): LimitCounters {
  async function readIntake(keys: readonly KeyRef[]): Promise<readonly (KeyUsage | undefined)[]> {
    try {
      const usages = await intake.read(keys);
      seeding.want(keys.filter((_, i) => usages[i] === undefined));
      return usages;
    } catch (cause) {
      onAway(cause);
      return [];
    }
  }
  return {
    async read(keys) {
      const usages = await readIntake(keys);
      const unknown = keys.filter((_, i) => usages[i] === undefined);
      if (unknown.length === 0) return usages;
      const known = await ledger.read(unknown);
      const byKey = new Map(unknown.map((key, i) => [keyId(key), known[i]]));
      return keys.map((key, i) => usages[i] ?? byKey.get(keyId(key)));
    },
  };
}

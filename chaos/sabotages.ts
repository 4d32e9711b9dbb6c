// Faults put into adapters on purpose, where the simulation does not reach, each of which a run must find.
import type { Sabotage } from "../simulation/sabotaged-copy.ts";
import type { FaultKind } from "./timeline.ts";

export interface ChaosSabotage extends Sabotage {
  /** Faults that would hide what it does. */
  readonly without: readonly FaultKind[];
}

export const SABOTAGES: readonly ChaosSabotage[] = [
  {
    // The keys in the ledger keep usage from being counted twice all the same; what is left is a cursor that goes back, and losses are
    // reported where there were none.
    name: "the cursor moves without compare-and-set",
    file: "src/postgres/queries/ledger-move-cursor.sql",
    find: "WHERE shard = $1 AND epoch = $2 AND cursor = $3",
    replace: "WHERE shard = $1 AND $2::text IS NOT NULL AND $3::text IS NOT NULL",
    without: ["Redis wiped"],
  },
  {
    name: "the trim forgets what was not read yet",
    file: "src/redis/scripts/trim.lua",
    find: "redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])",
    replace: "redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)",
    without: [],
  },
  {
    name: "the watermark runs ahead of what is counted",
    file: "src/postgres/queries/ledger-move-cursor.sql",
    find: "watermark = greatest(watermark, $5)",
    replace: "watermark = greatest(watermark, $5, now())",
    without: [],
  },
  {
    name: "a record of a batch is acknowledged and not stored",
    file: "src/redis/scripts/append.lua",
    find: "table.concat(lines, '\\n'))",
    replace: "table.concat(lines, '\\n', #lines > 1 and 2 or 1))",
    without: [],
  },
  {
    name: "a new leader goes on under the old one's epoch",
    file: "src/postgres/queries/lease-acquire.sql",
    find: "epoch = epoch + 1",
    replace: "epoch = greatest(epoch, 1)",
    without: [],
  },
  {
    name: "each send through the stream has an identifier of its own",
    file: "src/stripe/meter-stream.ts",
    find: "identifier: report.identifier,",
    replace: 'identifier: report.identifier + "-" + Math.random(),',
    without: [],
  },
];

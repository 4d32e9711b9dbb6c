// The role "drain": brings what Redis holds into the ledger. Nothing to do with Postgres intake.
import { randomUUID } from "node:crypto";
import { Drain } from "../app/drain.ts";
import { postgresLedger } from "../postgres/ledger.ts";
import { postgresWorkers } from "../postgres/workers.ts";
import { openBlockingRedis } from "../redis/client.ts";
import { redisShardStream } from "../redis/stream.ts";
import { startLoop } from "./background.ts";
import type { Foundation } from "./foundation.ts";
import type { Closers } from "./lifecycle.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

const READ_RECORDS = 5_000;
/** Over a second, which is how long a read blocks. */
const BLOCKING_TIMEOUT_MS = 5_000;

export async function startDrain(foundation: Foundation, closers: Closers): Promise<void> {
  const { catalog, deployment, pool, redis, processId, logger, metrics, tracing } = foundation;
  if (redis === undefined) return;
  const { shardCount } = deployment;
  const drain = new Drain({
    workerId: processId,
    shardCount,
    stream: redisShardStream({
      client: redis.client,
      openReader: (shard) => {
        const name = `${redis.options.name}-shard-${shard}`;
        return openBlockingRedis({ ...redis.options, name, commandTimeoutMs: BLOCKING_TIMEOUT_MS });
      },
      randomId: randomUUID,
      readRecords: READ_RECORDS,
    }),
    ledger: postgresLedger(pool, catalog, shardCount),
    registry: postgresWorkers(pool),
    clock: SYSTEM_CLOCK,
    observer: metrics.drain,
    tracing,
    logger,
    random: Math.random,
  });
  await startLoop(closers, "the drain", (signal) => drain.run(signal));
}

// Puts the service together: which roles run in this process, started in order, ended in reverse.

import { readDatabaseBytes, readLedgerSigns } from "../postgres/vital-signs.ts";
import { readRedisSigns } from "../redis/vital-signs.ts";
import { type ApiRole, startApi } from "./api-role.ts";
import { startLoop } from "./background.ts";
import { leavesOpsOpen } from "./config/parse-config.ts";
import { SETTINGS } from "./config/settings.ts";
import { startDrain } from "./drain-role.ts";
import { startFlush } from "./flush-role.ts";
import { type Foundation, openFoundation } from "./foundation.ts";
import { guardHost } from "./host-guard.ts";
import { httpServers } from "./http-server.ts";
import { Closers } from "./lifecycle.ts";
import { createMetrics } from "./metrics.ts";
import { type ComponentCheck, startOpsServer } from "./ops-server.ts";
import type { StartService } from "./service.ts";
import { StoreWatch } from "./store-watch.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";
import { startWebhooks } from "./webhooks-role.ts";

export const startService: StartService = async (config, roles, { logger }) => {
  const closers = new Closers(logger);
  try {
    const metrics = createMetrics();
    const foundation = await openFoundation(config, logger, metrics, closers);
    await startStoreWatch(foundation, closers);
    // Flush and drain first: they are what a record needs after it was taken.
    if (roles.has("flush")) await startFlush(foundation, closers);
    if (roles.has("drain")) await startDrain(foundation, closers);
    const webhookPort = roles.has("webhooks") ? await startWebhooks(foundation, closers) : undefined;
    const api = roles.has("api") ? await startApi(foundation, closers) : undefined;
    const checks = componentChecks(foundation, api);
    if (leavesOpsOpen(config)) {
      const how = `set ${SETTINGS.opsToken.env}, or keep the port inside your network`;
      logger.warn({}, `whoever reaches OPS_PORT reads /metrics, and in /readyz why a component fails: ${how}`);
    }
    const ops = await startOpsServer({
      host: config.host,
      port: config.opsPort,
      checks,
      metrics: metrics.registry,
      token: config.opsToken,
      createServer: guardHost(config, httpServers(foundation.tls?.for("ops"))),
    });
    await closers.add("the ops port", () => ops.close());
    await closers.add("readiness", () => ops.setNotReady("stopping"));
    return {
      addresses: { grpcPort: api?.grpcPort, httpPort: api?.httpPort, webhookPort, opsPort: ops.port },
      async stop() {
        if (!(await closers.close())) throw new Error("not everything ended cleanly; see the log");
      },
    };
  } catch (cause) {
    await closers.close();
    throw cause;
  }
};

/** Fills the metrics that every process shows alike. */
async function startStoreWatch({ pool, redis, metrics, logger }: Foundation, closers: Closers): Promise<void> {
  metrics.pool(pool);
  const watch = new StoreWatch({
    readLedger: () => readLedgerSigns(pool),
    readDatabaseBytes: () => readDatabaseBytes(pool),
    readRedis: redis && (() => readRedisSigns(redis.client)),
    metrics: metrics.stores,
    clock: SYSTEM_CLOCK,
    logger,
  });
  await startLoop(closers, "the watch over the stores", (signal) => watch.run(signal));
}

/** An API with Redis goes on taking records while Postgres is away; everything else needs Postgres. */
function componentChecks({ pool, intakeKind }: Foundation, api: ApiRole | undefined): ComponentCheck[] {
  const postgres: ComponentCheck = {
    name: "postgres",
    required: api === undefined || intakeKind === "postgres",
    async check() {
      await pool.query("SELECT 1");
      return { ok: true, message: "" };
    },
  };
  if (api === undefined) return [postgres];
  return [
    postgres,
    { name: "intake", required: true, check: async () => api.health.reachable() },
    { name: "intake_durable", required: false, check: async () => api.health.durable() },
  ];
}

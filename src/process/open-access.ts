// Who may call, as the role "api" has it: follows access tokens, and ends the streams of those that ended.
import { randomBytes } from "node:crypto";
import { ACCESS_POLL_MS, AccessDirectory } from "../app/access-directory.ts";
import { ManageTokens } from "../app/manage-tokens.ts";
import type { OpaqueTokens } from "../app/opaque-tokens.ts";
import { postgresAccessTokens } from "../postgres/access-tokens.ts";
import { Access } from "../rpc/access.ts";
import { DashboardTokens } from "../rpc/dashboard-tokens.ts";
import { TokenHandlers } from "../rpc/token-handlers.ts";
import { startLoop } from "./background.ts";
import { servesAdminApi, trustsLoopback } from "./config/parse-config.ts";
import type { Foundation } from "./foundation.ts";
import type { Closers } from "./lifecycle.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

export interface OpenAccess {
  /** Undefined where callers are not authenticated. */
  readonly access: Access | undefined;
  /** Undefined where the admin API is not served. */
  readonly tokens: TokenHandlers | undefined;
}

/** Knows every token once it resolves. Rejects where the database cannot be read. */
export async function openAccess(foundation: Foundation, pages: OpaqueTokens, closers: Closers): Promise<OpenAccess> {
  const { config, deployment, pool, logger } = foundation;
  const tokens = postgresAccessTokens(pool);
  const dashboards = new DashboardTokens(deployment, SYSTEM_CLOCK);
  const staleMaxMs = config.accessStaleMaxMs;
  const directory = new AccessDirectory({ tokens, clock: SYSTEM_CLOCK, logger, staleMaxMs });
  const onChange = () =>
    directory.refresh().catch((err: unknown) => logger.warn({ err }, "a changed access token is not seen yet"));
  const manage = new ManageTokens({ tokens, randomBytes, onChange });
  const handlers = servesAdminApi(config)
    ? new TokenHandlers({ tokens: manage, dashboards, pages, clock: SYSTEM_CLOCK })
    : undefined;
  if (config.auth === "none") {
    if (trustsLoopback(config)) logger.info({}, "callers are not asked who they are: the ports are on loopback only");
    else logger.warn({}, "callers are not asked who they are: whoever reaches the ports may do everything");
    return { access: undefined, tokens: handlers };
  }
  await directory.refresh();
  if (directory.size === 0) logger.warn({}, 'nobody can call yet: make an access token with "metering tokens create"');
  await startLoop(closers, "access tokens", (signal) => directory.run(signal));
  return { access: new Access({ directory, dashboards }), tokens: handlers };
}

/** Ends streams whose caller's credential ended, until the signal aborts. A loop of its own: it must not wait for the database. */
export async function endUnheld(servers: readonly { endUnheldStreams(): void }[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const server of servers) server.endUnheldStreams();
    await SYSTEM_CLOCK.sleep(ACCESS_POLL_MS, signal);
  }
}

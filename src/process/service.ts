// What a running service is to the commands that start it.
import type { Config } from "./config/parse-config.ts";
import type { Logger } from "./logger.ts";

/** Parts of the service that can run in processes of their own. */
export const ROLES = ["api", "drain", "flush", "webhooks"] as const;
export type Role = (typeof ROLES)[number];

/** Ports listened on; undefined where the roles do not need one. */
export interface ServiceAddresses {
  readonly grpcPort: number | undefined;
  readonly httpPort: number | undefined;
  readonly webhookPort: number | undefined;
  readonly opsPort: number;
}

export interface RunningService {
  readonly addresses: ServiceAddresses;
  /** Drains and ends everything, in reverse order of the start. One stop for all callers. Rejects naming what did not end cleanly. */
  stop(): Promise<void>;
}

/**
 * Starts the roles in this process and resolves when all listen. `config.databaseUrl` is set, and what the roles need of Stripe.
 * On failure everything that was started is ended before the rejection.
 */
export type StartService = (
  config: Config,
  roles: ReadonlySet<Role>,
  deps: { readonly logger: Logger },
) => Promise<RunningService>;

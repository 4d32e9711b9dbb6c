// Somebody with a shell: what the commands `metering customers map`, `reports retry` and `void` do.
import type { Logger } from "../src/app/ports/logger.ts";
import { voidRecord } from "../src/app/void-record.ts";
import { mapCustomer } from "../src/postgres/customer-mappings.ts";
import { readDeployment } from "../src/postgres/deployment.ts";
import type { Pool } from "../src/postgres/pool.ts";
import { findHeld, retryHeld } from "../src/postgres/report-desk.ts";
import { postgresVoids } from "../src/postgres/void.ts";
import { CATALOG } from "./catalog.ts";
import { SHARDS } from "./processes.ts";

/** Why reports are held whose cause is mended by the time that the operator looks. */
const MENDED_REASON = "archived_meter";
const HELD_MAX = 1_000;

export class Operator {
  readonly #pool: Pool;
  readonly #logger: Logger;
  retried = 0;

  constructor(pool: Pool, logger: Logger) {
    this.#pool = pool;
    this.#logger = logger;
  }

  /** Says which of Stripe's customers pays for one of the service's. */
  async map(customerId: string, stripeCustomerId: string): Promise<void> {
    const context = { catalog: CATALOG, shardCount: SHARDS, logger: this.#logger };
    const { kind } = await mapCustomer(this.#pool, context, customerId, stripeCustomerId, false);
    if (kind === "taken") throw new Error(`${customerId} could not be mapped`);
  }

  /** Has everything sent again that Stripe refused. */
  async retryHeld(): Promise<void> {
    const { deploymentId } = await readDeployment(this.#pool);
    const filter = { reason: MENDED_REASON, customerId: undefined };
    const { identifiers } = await findHeld(this.#pool, filter, "", HELD_MAX);
    this.retried += (await retryHeld(this.#pool, deploymentId, identifiers)).length;
  }

  /** Takes a record back. Repeating it is no fault. */
  async voidRecord(customerId: string, idempotencyKey: string): Promise<void> {
    const ledger = postgresVoids(this.#pool, CATALOG, SHARDS);
    await voidRecord(ledger, { customerId, idempotencyKey, reason: "should not have been sent" });
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }
}

// What this process knows of revoked dashboard tokens: since when a customer's, and everybody's, are good.
import type { Caller } from "../domain/access.ts";
import { type AccessTokens, REVOCATION_KEPT_MS } from "./ports/access-tokens.ts";
import type { Clock } from "./ports/clock.ts";

const CHANGES_MAX = 1_000;
/** Among customers, who have ids. */
const EVERYBODY = "";

export class DashboardRevocations {
  readonly #tokens: Pick<AccessTokens, "dashboardRevocationsSince">;
  readonly #clock: Clock;
  readonly #notBeforeMs = new Map<string, number>();
  #revision = 0n;

  constructor(tokens: Pick<AccessTokens, "dashboardRevocationsSince">, clock: Clock) {
    this.#tokens = tokens;
    this.#clock = clock;
  }

  /** Whether a dashboard's token is not revoked, as far as this process knows. */
  holds({ customerId, issuedMs }: NonNullable<Caller["dashboard"]>): boolean {
    return issuedMs >= this.#since(EVERYBODY) && issuedMs >= this.#since(customerId);
  }

  /** Takes in what changed. Rejects when the ledger is away. */
  async follow(): Promise<void> {
    let more = true;
    while (more) {
      const changes = await this.#tokens.dashboardRevocationsSince(this.#revision, CHANGES_MAX);
      for (const { customerId, notBeforeMs, revision } of changes) {
        this.#notBeforeMs.set(customerId, notBeforeMs);
        this.#revision = revision;
      }
      more = changes.length === CHANGES_MAX;
    }
    const keptSinceMs = this.#clock.nowMs() - REVOCATION_KEPT_MS;
    for (const [customerId, ms] of this.#notBeforeMs) if (ms < keptSinceMs) this.#notBeforeMs.delete(customerId);
  }

  #since(customerId: string): number {
    return this.#notBeforeMs.get(customerId) ?? Number.NEGATIVE_INFINITY;
  }
}

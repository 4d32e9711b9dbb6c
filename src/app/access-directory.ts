// What this process knows of access tokens: all that live, and which dashboards' are revoked, followed by revision, so that no call waits for the database.
import { timingSafeEqual } from "node:crypto";
import type { Caller } from "../domain/access.ts";
import { MeteringError } from "../domain/errors.ts";
import { hashSecret, parseToken } from "./access-token-text.ts";
import { DashboardRevocations } from "./dashboard-revocations.ts";
import type { AccessTokens, CheckableToken } from "./ports/access-tokens.ts";
import type { Clock } from "./ports/clock.ts";
import type { Logger } from "./ports/logger.ts";

export interface AccessDirectoryOptions {
  readonly tokens: Pick<AccessTokens, "changesSince" | "dashboardRevocationsSince" | "markUsed">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For how long known tokens are good while the database is away. Milliseconds. */
  readonly staleMaxMs: number;
}

/** How often changes are looked for: a revocation holds everywhere within twice this time, while the database answers. */
export const ACCESS_POLL_MS = 1_000;
/** How often last uses are written. */
const LAST_USE_MS = 60_000;
const CHANGES_MAX = 1_000;
const RETRY_AFTER_MS = 1_000;
/** Compared with where the id is unknown, so that this takes as long. No secret has it. */
const NO_HASH = new Uint8Array(32);

interface Known {
  readonly caller: Caller;
  readonly secretHash: Uint8Array;
}

/** Empty until the first refresh, which must be waited for before anybody is let in. */
export class AccessDirectory {
  readonly #options: AccessDirectoryOptions;
  readonly #known = new Map<string, Known>();
  readonly #dashboards: DashboardRevocations;
  #used = new Map<string, number>();
  #usedWrittenMs: number;
  #revision = 0n;
  #refreshedMs = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | undefined;

  constructor(options: AccessDirectoryOptions) {
    this.#options = options;
    this.#dashboards = new DashboardRevocations(options.tokens, options.clock);
    this.#usedWrittenMs = options.clock.monotonicMs();
  }

  /** Tokens that live, as far as this process knows. */
  get size(): number {
    return this.#known.size;
  }

  /**
   * Whom an access token stands for; undefined where it is malformed, unknown, expired or revoked. Throws `ledger_unavailable` where what is
   * known is too old to be relied on.
   */
  check(text: string): Caller | undefined {
    const { clock } = this.#options;
    this.requireFresh();
    const token = parseToken(text);
    if (token === undefined) return undefined;
    const known = this.#known.get(token.tokenId);
    const isSecret = timingSafeEqual(hashSecret(token.secret), known?.secretHash ?? NO_HASH);
    if (known === undefined || !isSecret || !this.holds(known.caller)) return undefined;
    this.#used.set(token.tokenId, clock.nowMs());
    return known.caller;
  }

  /** Whether a caller that check() gave, or a dashboard, is still good: of long calls. */
  holds(caller: Caller): boolean {
    const { name, dashboard, expiresMs } = caller;
    const isGood =
      dashboard === undefined ? this.#known.get(name)?.caller === caller : this.#dashboards.holds(dashboard);
    return isGood && (expiresMs === undefined || this.#options.clock.nowMs() < expiresMs);
  }

  /** Throws `ledger_unavailable` where what is known is too old to be relied on. */
  requireFresh(): void {
    const { clock, staleMaxMs } = this.#options;
    if (clock.monotonicMs() - this.#refreshedMs <= staleMaxMs) return;
    const failure = { kind: "ledger_unavailable", retryAfterMs: RETRY_AFTER_MS } as const;
    throw new MeteringError(failure, "credentials cannot be checked now");
  }

  /** Takes in what changed so far. Callers at the same time share one look. Rejects when the ledger is away, and stays as it was. */
  async refresh(): Promise<void> {
    // What is under way may have begun before the change that the caller wants to see.
    await this.#refreshing?.catch(() => {});
    this.#refreshing ??= this.#follow().finally(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
  }

  /** Follows changes, and writes last uses, until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    let failing = false;
    while (!signal.aborted) {
      try {
        await this.refresh();
        if (clock.monotonicMs() - this.#usedWrittenMs >= LAST_USE_MS) await this.#writeUses();
        failing = false;
      } catch (err) {
        if (!failing) logger.warn({ err }, "access tokens cannot be followed; those known stay good for a while");
        failing = true;
      }
      await clock.sleep(ACCESS_POLL_MS, signal);
    }
    await this.#writeUses().catch((err: unknown) => logger.warn({ err }, "last uses of access tokens are lost"));
  }

  async #follow(): Promise<void> {
    const { tokens, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    let more = true;
    while (more) {
      const changes = await tokens.changesSince(this.#revision, CHANGES_MAX);
      for (const token of changes) {
        if (token.revokedMs !== undefined) this.#known.delete(token.tokenId);
        else this.#known.set(token.tokenId, toKnown(token));
        this.#revision = token.revision;
      }
      more = changes.length === CHANGES_MAX;
    }
    await this.#dashboards.follow();
    this.#refreshedMs = nowMs;
    for (const [tokenId, { caller }] of this.#known) if (!this.holds(caller)) this.#known.delete(tokenId);
  }

  /** What cannot be written is kept for the next time. */
  async #writeUses(): Promise<void> {
    const { tokens, clock } = this.#options;
    this.#usedWrittenMs = clock.monotonicMs();
    if (this.#used.size === 0) return;
    const uses = this.#used;
    this.#used = new Map();
    try {
      await tokens.markUsed(uses);
    } catch (cause) {
      this.#used = new Map([...uses, ...this.#used]);
      throw cause;
    }
  }
}

function toKnown({ tokenId, scopes, customers, expiresMs, secretHash }: CheckableToken): Known {
  const caller: Caller = {
    kind: "service",
    name: tokenId,
    permissions: new Set(scopes),
    customers: customers === undefined ? "all" : new Set(customers),
    expiresMs,
  };
  return { caller, secretHash };
}

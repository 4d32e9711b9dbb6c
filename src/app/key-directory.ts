// What this process knows of API keys and their limits: all of them, followed by revision, so that no record waits for the database.
import { hasLimits, type KeyRef, keyId, type LimitPolicy } from "../domain/limits.ts";
import type { ApiKey, ApiKeys } from "./ports/api-keys.ts";
import type { Clock } from "./ports/clock.ts";
import type { Logger } from "./ports/logger.ts";

export interface KeyDirectoryOptions {
  readonly keys: Pick<ApiKeys, "changesSince">;
  readonly policy: LimitPolicy;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How often changes are looked for: a change made elsewhere holds here within twice this time, while the database answers. */
const DIRECTORY_POLL_MS = 1_000;
/** Deleted keys are remembered for a week: who could not look for so long reads all anew. */
const STALE_MS = 86_400_000;
const CHANGES_MAX = 10_000;

/** Some 300 bytes a key. Empty until the first refresh. */
export class KeyDirectory {
  readonly policy: LimitPolicy;
  readonly #options: KeyDirectoryOptions;
  #keys = new Map<string, ApiKey>();
  #revision = 0n;
  #refreshedMs: number | undefined;
  #refreshing: Promise<void> | undefined;

  constructor(options: KeyDirectoryOptions) {
    this.#options = options;
    this.policy = options.policy;
  }

  find(key: KeyRef): ApiKey | undefined {
    return this.#keys.size === 0 ? undefined : this.#keys.get(keyId(key));
  }

  /** A key that is defined and has limits; costs next to nothing where no key is. */
  limited(key: KeyRef): ApiKey | undefined {
    const found = this.find(key);
    return found !== undefined && hasLimits(found, this.policy) ? found : undefined;
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

  /** Follows changes until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    let failing = false;
    while (!signal.aborted) {
      try {
        await this.refresh();
        failing = false;
      } catch (err) {
        if (!failing) logger.warn({ err }, "changes of API keys cannot be read; limits stay as they were");
        failing = true;
      }
      await clock.sleep(DIRECTORY_POLL_MS, signal);
    }
  }

  async #follow(): Promise<void> {
    const { keys, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const isStale = this.#refreshedMs !== undefined && nowMs - this.#refreshedMs > STALE_MS;
    let revision = isStale ? 0n : this.#revision;
    const known = isStale ? new Map<string, ApiKey>() : this.#keys;
    let more = true;
    while (more) {
      const changes = await keys.changesSince(revision, CHANGES_MAX);
      for (const change of changes) {
        if (change.key === undefined) known.delete(keyId(change));
        else known.set(keyId(change), change.key);
        revision = change.revision;
      }
      more = changes.length === CHANGES_MAX;
    }
    this.#keys = known;
    this.#revision = revision;
    this.#refreshedMs = nowMs;
  }
}

// Whether records can be taken, and whether an acknowledged one is safe. What health checks and /readyz are told.
import type { Clock } from "../app/ports/clock.ts";
import type { Durability } from "../app/ports/intake.ts";
import type { Logger } from "./logger.ts";
import type { ComponentState } from "./ops-server.ts";

export interface IntakeHealthOptions {
  /** Rejects when the intake's store does not answer. */
  readonly ping: () => Promise<void>;
  readonly probe: () => Promise<Durability>;
  /** Told the state after every look. */
  readonly onServing: (serving: boolean) => void;
  readonly onDurable: (durable: boolean) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

const LOOK_INTERVAL_MS = 1_000;
/** A store may be set up anew while it runs. */
const PROBE_INTERVAL_MS = 30_000;

export class IntakeHealth {
  readonly #options: IntakeHealthOptions;
  #serving = false;
  #failure = "not looked at yet";
  #durability: Durability | undefined;
  #probedMs = Number.NEGATIVE_INFINITY;

  constructor(options: IntakeHealthOptions) {
    this.#options = options;
  }

  /** The store answers. */
  reachable(): ComponentState {
    return { ok: this.#serving, message: this.#serving ? "" : this.#failure };
  }

  /** Promise P1 holds. */
  durable(): ComponentState {
    if (this.#durability === undefined) return { ok: false, message: "not known yet" };
    return { ok: this.#durability.durable, message: this.#durability.reason };
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(LOOK_INTERVAL_MS, signal);
      if (!signal.aborted) await this.look();
    }
  }

  /** Looks once. Never rejects. */
  async look(): Promise<void> {
    const { ping, onServing, logger } = this.#options;
    const before = this.#serving;
    try {
      await ping();
      this.#serving = true;
      await this.#probe();
    } catch (err) {
      this.#serving = false;
      this.#failure = err instanceof Error ? err.message : String(err);
      if (before) logger.error({ err }, "the intake's store is away: records cannot be taken");
    }
    if (this.#serving && !before) logger.info({}, "the intake's store is there: records can be taken");
    onServing(this.#serving);
  }

  async #probe(): Promise<void> {
    const { probe, onDurable, clock, logger } = this.#options;
    if (clock.monotonicMs() - this.#probedMs < PROBE_INTERVAL_MS) return;
    const found = await probe();
    this.#probedMs = clock.monotonicMs();
    if (!found.durable && this.#durability?.reason !== found.reason) {
      logger.error({}, `NOT DURABLE: ${found.reason}`);
    }
    this.#durability = found;
    onDurable(found.durable);
  }
}

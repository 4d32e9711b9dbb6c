// The lease's row, on the database's clock.
import { type LeaseGrant, StaleLeaseError } from "../../../src/app/ports/reports.ts";

export class ModelLease {
  readonly #nowMs: () => number;
  #epoch = 0n;
  #expiresMs = Number.NEGATIVE_INFINITY;
  #holder = "";
  readonly #epochs = new Map<string, bigint>();
  readonly #onGrant: (epoch: bigint, holder: string) => void;

  constructor(nowMs: () => number, onGrant: (epoch: bigint, holder: string) => void = () => {}) {
    this.#nowMs = nowMs;
    this.#onGrant = onGrant;
  }

  acquire(holder: string, ttlMs: number): LeaseGrant | undefined {
    if (this.#expiresMs > this.#nowMs()) return undefined;
    this.#epoch += 1n;
    this.#expiresMs = this.#nowMs() + ttlMs;
    this.#holder = holder;
    this.#epochs.set(holder, this.#epoch);
    this.#onGrant(this.#epoch, holder);
    return { epoch: this.#epoch, ttlMs };
  }

  /** The last epoch that somebody led in; undefined: it never led. */
  epochOf(holder: string): bigint | undefined {
    return this.#epochs.get(holder);
  }

  /** Who holds it now; undefined: nobody. */
  get holder(): string | undefined {
    return this.#expiresMs > this.#nowMs() ? this.#holder : undefined;
  }

  renew({ epoch, ttlMs }: LeaseGrant): LeaseGrant | undefined {
    if (epoch !== this.#epoch || this.#expiresMs <= this.#nowMs()) return undefined;
    this.#expiresMs = this.#nowMs() + ttlMs;
    return { epoch, ttlMs };
  }

  release({ epoch }: LeaseGrant): void {
    if (epoch === this.#epoch) this.#expiresMs = Number.NEGATIVE_INFINITY;
  }

  /** In front of every write of a leader. */
  fence({ epoch }: LeaseGrant): void {
    if (epoch !== this.#epoch) throw new StaleLeaseError(`epoch ${epoch} is not the last one`);
  }
}

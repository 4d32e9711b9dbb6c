// Which identifiers are taken: one set for the account, whichever way an event came in.

/** No event is validated longer after its receipt than this, so none asks about a time before it. */
const LOOK_BACK_MS = 25 * 3_600_000;

/** Identifiers and when they were taken. Each holds for a rolling time, after which it can be taken again. */
export class Identifiers {
  readonly #takenMs = new Map<string, number>();

  /** Whether an event received at `atMs` comes under an identifier that was taken less than `keptMs` before. */
  isTaken(identifier: string, atMs: number, keptMs: number): boolean {
    const takenMs = this.#takenMs.get(identifier);
    return takenMs !== undefined && atMs - takenMs < keptMs;
  }

  /** Cost: constant, over many calls. */
  take(identifier: string, atMs: number, keptMs: number): void {
    for (const [old, takenMs] of this.#takenMs) {
      if (atMs - takenMs < keptMs + LOOK_BACK_MS) break;
      this.#takenMs.delete(old);
    }
    this.#takenMs.delete(identifier);
    this.#takenMs.set(identifier, atMs);
  }
}

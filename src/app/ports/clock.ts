/** The time of this process, passed in so that tests and the simulation own it. */
export interface Clock {
  /** Milliseconds since the epoch, UTC. May step back when the machine's clock is set. */
  nowMs(): number;
  /** Milliseconds since some fixed instant; never steps back. For measuring how long something took, or whether a lease still holds. */
  monotonicMs(): number;
  /** Resolves after `delayMs`, or at once when `signal` aborts; never rejects. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

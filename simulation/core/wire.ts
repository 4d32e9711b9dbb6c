// Between a process and a store: every call through a port goes over here, and may be delayed, lost, repeated, done late, or answered late.
import type { Random } from "../random.ts";
import type { Machine } from "./machine.ts";
import type { Timeline } from "./scheduler.ts";
import type { FaultRates, StoreName, Weather } from "./weather.ts";

/** A call that failed as calls over a network do. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** How long things take, in the time of a world. */
export interface Latency {
  /** Of a message, one way. */
  readonly usualMs: number;
  /** After which a caller gives up. */
  readonly timeoutMs: number;
  /** How much later than that something may still be done. */
  readonly lateMs: number;
}

export interface CallOptions {
  /** Clients of the store send again what was not answered. */
  readonly repeatable?: boolean;
  /** Ends the wait at once. */
  readonly signal?: AbortSignal;
  /** How long the store takes its time before it does it. */
  readonly holdMs?: number;
}

/** What befalls a store, and so everybody who calls it. */
interface Outages {
  downUntilMs: number;
  darkUntilMs: number;
  /** Counts restarts: what was under way in one is not answered. */
  lives: number;
}

/** The way to one store, shared by all processes: it may be cut for everybody, as when the store is down. */
export class Wire {
  readonly store: StoreName;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #weather: Weather;
  readonly #latency: Latency;
  readonly #outages: Outages;

  constructor(
    store: StoreName,
    timeline: Timeline,
    random: Random,
    weather: Weather,
    latency: Latency,
    outages: Outages = { downUntilMs: Number.NEGATIVE_INFINITY, darkUntilMs: Number.NEGATIVE_INFINITY, lives: 0 },
  ) {
    this.store = store;
    this.#timeline = timeline;
    this.#random = random;
    this.#weather = weather;
    this.#latency = latency;
    this.#outages = outages;
  }

  /** Another way to the same store, with chance of its own: down when this one is. */
  beside(timeline: Timeline, random: Random): Wire {
    return new Wire(this.store, timeline, random, this.#weather, this.#latency, this.#outages);
  }

  get isDown(): boolean {
    return this.#timeline.nowMs < this.#outages.downUntilMs;
  }

  /** Nobody reaches the store for so long; what was under way is lost, before or after it was done. */
  goDown(durationMs: number): void {
    this.#outages.lives += 1;
    this.#outages.downUntilMs = Math.max(this.#outages.downUntilMs, this.#timeline.nowMs + durationMs);
  }

  /** For so long everything is done, and nothing answered. */
  goDark(durationMs: number): void {
    this.#outages.darkUntilMs = Math.max(this.#outages.darkUntilMs, this.#timeline.nowMs + durationMs);
  }

  /**
   * Does `effect` at the store and resolves with what it returns, or rejects with what it throws; or with a WireError, and then it was
   * done, was not, or will be. Never settles once the machine is dead.
   */
  call<T>(machine: Machine, effect: () => T, { repeatable = false, signal, holdMs = 0 }: CallOptions = {}): Promise<T> {
    return new Promise((resolve, reject) => {
      let settled = false;
      const settle = (run: () => void) =>
        machine.deliver(() => {
          if (settled) return;
          settled = true;
          signal?.removeEventListener("abort", abort);
          run();
        }, this.#timeline);
      const abort = () => settle(() => reject(new WireError(`${this.store}: given up`)));
      if (signal?.aborted) {
        abort();
        return;
      }
      signal?.addEventListener("abort", abort, { once: true });
      const give = (answer: Answer<T>) =>
        settle(() => ("value" in answer ? resolve(answer.value) : reject(answer.error)));
      this.#send(machine, effect, this.#fate(repeatable), holdMs, give);
    });
  }

  #fate(repeatable: boolean): Fate {
    if (this.#timeline.nowMs < this.#outages.darkUntilMs) return "lostAfter";
    const rates = this.#weather.of(this.store);
    const kinds: readonly (keyof FaultRates)[] = ["lostBefore", "lostAfter", "doneLate", "slow", "repeated"];
    let drawn = this.#random.unit();
    for (const kind of kinds) {
      if (kind === "repeated" && !repeatable) continue;
      if (drawn < rates[kind]) return kind;
      drawn -= rates[kind];
    }
    return "well";
  }

  #send<T>(machine: Machine, effect: () => T, fate: Fate, holdMs: number, give: (answer: Answer<T>) => void): void {
    const { timeoutMs, lateMs } = this.#latency;
    const timeline = this.#timeline;
    const lives = this.#outages.lives;
    // A message on its way may outlive its sender.
    const isOut = this.#random.chance(0.5);
    const lost = (what: string) => give({ error: new WireError(`${this.store}: ${what}`) });
    const arrive = (answer: (answer: Answer<T>) => void) => {
      if (this.isDown || this.#outages.lives !== lives) return lost("connection lost");
      if (!machine.isAlive && !isOut) return;
      const done = attempt(effect);
      answer(done);
    };
    const answerAfter = (delayMs: number) => (answer: Answer<T>) => {
      timeline.after(delayMs, () => (this.#outages.lives === lives ? give(answer) : lost("connection lost")));
    };
    const hopMs = this.#hopMs() + holdMs;
    switch (fate) {
      case "well":
        timeline.after(hopMs, () => arrive(answerAfter(this.#hopMs())));
        return;
      case "slow":
        timeline.after(hopMs, () => arrive(answerAfter(timeoutMs * this.#random.unit())));
        return;
      case "lostBefore":
        timeline.after(timeoutMs * this.#random.unit(), () => lost("no answer"));
        return;
      case "lostAfter":
        timeline.after(hopMs, () =>
          arrive(() => timeline.after(timeoutMs * this.#random.unit(), () => lost("no answer"))),
        );
        return;
      case "doneLate":
        timeline.after(this.#hopMs(), () => lost("connection reset"));
        timeline.after(hopMs + lateMs * this.#random.unit(), () => arrive(() => {}));
        return;
      case "repeated":
        timeline.after(hopMs, () => arrive(answerAfter(this.#hopMs())));
        timeline.after(hopMs + lateMs * this.#random.unit(), () => arrive(() => {}));
    }
  }

  #hopMs(): number {
    return this.#latency.usualMs * (0.1 + this.#random.unit());
  }
}

type Fate = keyof FaultRates | "well";
type Answer<T> = { readonly value: T } | { readonly error: unknown };

function attempt<T>(effect: () => T): Answer<T> {
  try {
    return { value: effect() };
  } catch (error) {
    return { error };
  }
}

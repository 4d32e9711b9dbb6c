// The stage: virtual time, the simulated Stripe, the database, and what moves time on. One step: nothing is under way; time moves to the
// next instant at which anything is due, at Stripe, in the service, or on the timeline; all of that begins.
import type { StripeSimulator } from "../src/stripe-simulator/server.ts";
import type { Activity } from "./activity.ts";
import type { Timeline } from "./timeline.ts";
import type { VirtualClock } from "./virtual-clock.ts";
import type { VirtualDatabase } from "./virtual-database.ts";

export interface StageParts {
  readonly clock: VirtualClock;
  readonly activity: Activity;
  readonly timeline: Timeline;
  readonly simulator: StripeSimulator;
  readonly database: VirtualDatabase;
}

export class Stage {
  readonly #parts: StageParts;
  readonly #failures: unknown[] = [];
  steps = 0;

  constructor(parts: StageParts) {
    this.#parts = parts;
  }

  /** Lets time pass up to `untilMs`. Rejects with the first failure of anything on the timeline. */
  async playUntil(untilMs: number): Promise<void> {
    for (;;) {
      await this.#quiet();
      const nextMs = this.#nextMs();
      await this.#moveTo(Math.min(nextMs, untilMs));
      if (nextMs > untilMs) break;
    }
    await this.#quiet();
  }

  #nextMs(): number {
    const { clock, timeline, simulator } = this.#parts;
    const dues = [clock.nextWakeMs, timeline.nextMs, simulator.nextDueMs].filter((due) => due !== undefined);
    // What could not be done in its time is done now.
    return Math.max(clock.nowMs(), Math.min(...dues));
  }

  async #moveTo(nowMs: number): Promise<void> {
    const { clock, activity, timeline, simulator, database } = this.#parts;
    this.steps += 1;
    if (nowMs !== clock.nowMs()) await database.moveTo(nowMs);
    clock.moveTo(nowMs);
    simulator.tick();
    for (const { run } of timeline.takeDue(nowMs)) {
      activity.during(run).catch((cause: unknown) => this.#failures.push(cause));
    }
  }

  /** Webhooks that are due are part of what is under way, and so is what Stripe processes although nobody waits for it any more. */
  async #quiet(): Promise<void> {
    const { activity, simulator } = this.#parts;
    for (let before = -1; before !== activity.changes; ) {
      await activity.quiet();
      before = activity.changes;
      await simulator.requestsSettled();
      await simulator.webhooksSettled();
      await activity.quiet();
    }
    if (this.#failures.length > 0) throw this.#failures[0];
  }
}

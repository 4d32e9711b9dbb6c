// The real clock, for tests over real stores, with a hand to move it.
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../../src/app/ports/clock.ts";

export interface TestClock extends Clock {
  /** Sets nowMs; time goes on from there at its usual pace. */
  set(nowMs: number): void;
}

export function testClock(): TestClock {
  let offsetMs = 0;
  return {
    nowMs: () => Date.now() + offsetMs,
    monotonicMs: () => performance.now(),
    set(nowMs) {
      offsetMs = nowMs - Date.now();
    },
    async sleep(delayMs, signal) {
      await delay(delayMs, undefined, { signal }).catch(() => {});
    },
  };
}

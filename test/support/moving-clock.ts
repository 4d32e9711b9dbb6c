// A clock that stands still until somebody moves it, or sleeps by it.
import type { Clock } from "../../src/app/ports/clock.ts";

export interface MovingClock extends Clock {
  move(byMs: number): void;
}

export function movingClock(startMs = 0): MovingClock {
  let nowMs = startMs;
  return {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    async sleep(delayMs) {
      nowMs += delayMs;
    },
    move(byMs) {
      nowMs += byMs;
    },
  };
}

// Real time: the Clock of a running service.
import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../app/ports/clock.ts";

export const SYSTEM_CLOCK: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  async sleep(delayMs, signal) {
    try {
      await delay(delayMs, undefined, signal ? { signal } : {});
    } catch {
      // Aborted: the sleep is over, which is all that was asked.
    }
  },
};

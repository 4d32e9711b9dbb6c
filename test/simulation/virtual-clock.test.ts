import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../simulation/virtual-clock.ts";

const START_MS = 1_000_000;
const onTime = () => 0;

/** What woke up so far, in order. */
function sleepers(clock: VirtualClock) {
  const woken: string[] = [];
  const sleep = (name: string, delayMs: number, signal?: AbortSignal) =>
    clock.sleep(delayMs, signal).then(() => void woken.push(name));
  return { woken, sleep };
}

describe("virtual time", () => {
  test("stands still until it is moved, and wakes whose sleep is over, first due first", async () => {
    const clock = new VirtualClock(START_MS, onTime);
    const { woken, sleep } = sleepers(clock);
    const all = [sleep("b", 20), sleep("a", 10), sleep("c", 21)];
    expect(clock.nextWakeMs).toBe(START_MS + 10);
    clock.moveTo(START_MS + 20);
    await Promise.all(all.slice(0, 2));
    expect(woken).toEqual(["a", "b"]);
    expect(clock.nowMs()).toBe(START_MS + 20);
    expect(clock.monotonicMs()).toBe(20);
    expect(clock.nextWakeMs).toBe(START_MS + 21);
  });

  test("need not stop for who may be late, and wakes them at the next stop", async () => {
    const clock = new VirtualClock(START_MS, (delayMs) => (delayMs < 100 ? 1_000 : 0));
    const { woken, sleep } = sleepers(clock);
    const looking = sleep("looking", 50);
    void sleep("exact", 500);
    expect(clock.nextWakeMs).toBe(START_MS + 500);
    clock.moveTo(START_MS + 60);
    await looking;
    expect(woken).toEqual(["looking"]);
  });

  test("an abort ends a sleep at once", async () => {
    const clock = new VirtualClock(START_MS, onTime);
    const abort = new AbortController();
    const { woken, sleep } = sleepers(clock);
    const sleeping = sleep("aborted", 50, abort.signal);
    abort.abort();
    await sleeping;
    await sleep("too late", 50, abort.signal);
    expect(woken).toEqual(["aborted", "too late"]);
    expect(clock.nextWakeMs).toBeUndefined();
  });

  test("does not go back", () => {
    expect(() => new VirtualClock(START_MS, onTime).moveTo(START_MS - 1)).toThrow(RangeError);
  });
});

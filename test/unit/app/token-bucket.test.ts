import { describe, expect, test } from "vitest";
import { TokenBucket } from "../../../src/app/token-bucket.ts";
import { movingClock } from "../../support/moving-clock.ts";

const never = new AbortController().signal;

async function take(bucket: TokenBucket, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await bucket.take(never);
}

describe("TokenBucket", () => {
  test("keeps to the rate, after a burst of a tenth of a second", async () => {
    const clock = movingClock();
    const bucket = new TokenBucket(100, clock);
    await take(bucket, 10);
    expect(clock.monotonicMs()).toBe(0);
    await take(bucket, 100);
    expect(clock.monotonicMs()).toBeCloseTo(1_000, 6);
  });

  test("saves up no more than the burst, however long nobody sends", async () => {
    const clock = movingClock();
    const bucket = new TokenBucket(100, clock);
    await take(bucket, 10);
    clock.move(60_000);
    await take(bucket, 10);
    expect(clock.monotonicMs()).toBe(60_000);
    await take(bucket, 10);
    expect(clock.monotonicMs()).toBeCloseTo(60_100, 6);
  });

  test("makes up for a pause between rounds, so that commits do not cost rate", async () => {
    const clock = movingClock();
    const bucket = new TokenBucket(1_000, clock);
    for (let round = 0; round < 10; round++) {
      await take(bucket, 200);
      clock.move(50);
    }
    expect(clock.monotonicMs()).toBeCloseTo(1_900 + 50, 6);
  });

  test("those who wait are served in their order, each at its own time", async () => {
    const waits: number[] = [];
    const clock = { ...movingClock(), sleep: async (delayMs: number) => void waits.push(delayMs) };
    const bucket = new TokenBucket(4, clock);
    await Promise.all(Array.from({ length: 5 }, () => bucket.take(never)));
    expect(waits).toEqual([250, 500, 750, 1_000]);
  });

  test("a slow rate still lets a lone request go at once", async () => {
    const clock = movingClock();
    const bucket = new TokenBucket(0.25, clock);
    await take(bucket, 2);
    expect(clock.monotonicMs()).toBe(4_000);
    bucket.slowDown();
    expect(bucket.ratePerSecond).toBe(0.25);
  });

  test("halves on trouble, not below one a second, and comes back", () => {
    const bucket = new TokenBucket(1_000, movingClock());
    for (let i = 0; i < 20; i++) bucket.slowDown();
    expect(bucket.ratePerSecond).toBe(1);
    bucket.speedUp();
    expect(bucket.ratePerSecond).toBe(1.25);
    for (let i = 0; i < 50; i++) bucket.speedUp();
    expect(bucket.ratePerSecond).toBe(1_000);
  });

  test("trouble voids the burst, and turns that nobody used", async () => {
    const clock = movingClock();
    const bucket = new TokenBucket(100, clock);
    bucket.slowDown();
    await take(bucket, 1);
    expect(clock.monotonicMs()).toBe(20);
    const waits: number[] = [];
    clock.sleep = async (delayMs) => void waits.push(delayMs);
    await take(bucket, 3);
    bucket.slowDown();
    await take(bucket, 1);
    expect(waits).toEqual([20, 40, 60, 40]);
  });
});

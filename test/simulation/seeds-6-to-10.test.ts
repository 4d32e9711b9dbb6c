// A quarter of billing under everything that goes wrong, smaller than by hand; seeds-1-to-5.test.ts beside it, so that two run at a time.
import { test } from "vitest";
import { expectToAddUp, play, TEN_MINUTES_MS } from "./play.ts";

for (const seed of [6, 7, 8, 9, 10]) {
  test(`seed ${seed}: every token is accounted for`, { timeout: TEN_MINUTES_MS }, async () => {
    expectToAddUp(await play("--seed", String(seed)));
  });
}

// A quarter of billing under everything that goes wrong, smaller than by hand; seeds-6-to-10.test.ts beside it, so that two run at a time.
import { test } from "vitest";
import { expectToAddUp, play, TEN_MINUTES_MS } from "./play.ts";

for (const seed of [1, 2, 3, 4, 5]) {
  test(`seed ${seed}: every token is accounted for`, { timeout: TEN_MINUTES_MS }, async () => {
    expectToAddUp(await play("--seed", String(seed)));
  });
}

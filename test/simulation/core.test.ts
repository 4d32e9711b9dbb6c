// The simulation, as far as every run can bear it: the same worlds each time. Worlds that nobody has seen are for `npm run simulate`.

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import { play } from "../../simulation/core/play.ts";
import { REGRESSIONS } from "../../simulation/core/regressions.ts";
import { runSeeds, type SeedResult } from "../../simulation/core/run-seeds.ts";
import { SABOTAGES } from "../../simulation/core/sabotages.ts";

const SEEDS = 1_000;
/** A minute on an idle machine; whoever waits for a busy one learns no more by giving up. */
const LIMIT_MS = 900_000;

async function failuresOf(seeds: readonly number[]): Promise<string[]> {
  const failures: string[] = [];
  const onResult = ({ seed, violation }: SeedResult) => {
    if (violation !== undefined)
      failures.push(`${violation.checker}: ${violation.message}; again: npm run simulate -- --seed ${seed}`);
    return true;
  };
  await runSeeds({ seeds, threads: availableParallelism(), onResult });
  return failures;
}

test("seeds that once failed do not", { timeout: LIMIT_MS }, async () => {
  expect(await failuresOf(REGRESSIONS.map(({ seed }) => seed))).toEqual([]);
});

test("nothing is lost and nothing counted twice, whatever fails", { timeout: LIMIT_MS }, async () => {
  expect(await failuresOf(Array.from({ length: SEEDS }, (_, i) => 1 + i))).toEqual([]);
});

test("a seed gives the same history again", { timeout: LIMIT_MS }, async () => {
  for (const seed of [1, 2, 3, 6, 8]) {
    const first = await play(seed, true);
    expect((await play(seed, true)).digest).toBe(first.digest);
  }
  expect((await play(4, true)).digest).not.toBe((await play(5, true)).digest);
});

test("every sabotage fits the code that it is of", () => {
  const misfits = SABOTAGES.filter(({ file, find }) => {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");
    return text.split(find).length !== 2;
  });
  expect(misfits.map(({ name }) => name)).toEqual([]);
  expect(SABOTAGES.length).toBeGreaterThanOrEqual(12);
  const names = SABOTAGES.map(({ name }) => name);
  expect(REGRESSIONS.map(({ sabotage }) => sabotage).filter((name) => !names.includes(name))).toEqual([]);
});

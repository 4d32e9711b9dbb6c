// Seeds for randomized tests: printed when a test fails, replayed with SEED=n.
import type fc from "fast-check";

/** Options for fc.assert: a seed from the environment, or a fresh one, which fast-check prints with the counterexample. */
export function seeded(numRuns: number): fc.Parameters<unknown> {
  const seed = process.env["SEED"];
  return seed === undefined ? { numRuns } : { numRuns, seed: Number(seed) };
}

/** A small deterministic generator (mulberry32), for tests that draw as they go; 0 <= next() < 1. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** SEED, or a fresh seed. The caller puts it into its failure messages. */
export function pickSeed(): number {
  return Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
}

// A thread that plays the seeds it is given.
import { parentPort } from "node:worker_threads";
import { play } from "./play.ts";
import { type SeedResult, toResult } from "./run-seeds.ts";

parentPort?.on("message", async (seeds: readonly number[]) => {
  const results: SeedResult[] = [];
  for (const seed of seeds) results.push(toResult(await play(seed)));
  parentPort?.postMessage(results);
});

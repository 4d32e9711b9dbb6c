// A thread that plays the seeds it is given.
import { parentPort } from "node:worker_threads";
import { play } from "./play.ts";
import { type SeedResult, toResult } from "./run-seeds.ts";

// Errors are what happens here all the time, and where they come from is told by a seed's history.
Error.stackTraceLimit = 0;

parentPort?.on("message", async (seeds: readonly number[]) => {
  const results: SeedResult[] = [];
  for (const seed of seeds) results.push(toResult(await play(seed)));
  parentPort?.postMessage(results);
});

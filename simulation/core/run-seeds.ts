// Many seeds, side by side on the machine's cores. Each is played by itself, so the order in which they end is nothing.
import { Worker } from "node:worker_threads";
import type { Violation } from "./oracle.ts";
import type { Outcome } from "./play.ts";

/** What is told of a seed. */
export interface SeedResult {
  readonly seed: number;
  /** The first thing that must not be; undefined: all is well. */
  readonly violation: Violation | undefined;
  readonly steps: number;
  readonly virtualMs: number;
  readonly records: number;
  readonly reports: number;
  readonly lost: number;
  readonly gaps: number;
}

export interface SeedsOptions {
  readonly seeds: readonly number[];
  readonly threads: number;
  /** Told of each as it ends; false: play no more. */
  readonly onResult: (result: SeedResult) => boolean;
}

/** Seeds that a thread is given at a time. */
const CHUNK = 5;
/**
 * Chunks after which a thread makes way for a new one: a signal made of others is kept by the runtime as long as somebody listens to it, and
 * with it the whole world of whoever crashed while he did. About 0.4 MB a seed, freed with its thread.
 */
const CHUNKS_PER_THREAD = 200;

export function toResult({ seed, violations, steps, virtualMs, records, reports, lost, gaps }: Outcome): SeedResult {
  return { seed, violation: violations[0], steps, virtualMs, records, reports, lost, gaps };
}

/** Plays seeds until all are played or `onResult` has had enough. Rejects when a thread fails. */
export async function runSeeds({ seeds, threads, onResult }: SeedsOptions): Promise<void> {
  const waiting = [...seeds];
  let goesOn = true;
  const serve = async () => {
    while (goesOn && waiting.length > 0) {
      const worker = new Worker(new URL("./seed-worker.ts", import.meta.url));
      try {
        for (let i = 0; i < CHUNKS_PER_THREAD && goesOn && waiting.length > 0; i += 1) {
          for (const result of await ask(worker, waiting.splice(0, CHUNK))) if (goesOn) goesOn = onResult(result);
        }
      } finally {
        await worker.terminate();
      }
    }
  };
  const count = Math.max(1, Math.min(threads, Math.ceil(seeds.length / CHUNK)));
  try {
    await Promise.all(Array.from({ length: count }, serve));
  } finally {
    goesOn = false;
  }
}

function ask(worker: Worker, seeds: readonly number[]): Promise<readonly SeedResult[]> {
  return new Promise((resolve, reject) => {
    const end = (run: () => void) => {
      worker.off("error", onError);
      run();
    };
    const onError = (cause: Error) => end(() => reject(cause));
    worker.once("error", onError);
    worker.once("message", (results: readonly SeedResult[]) => end(() => resolve(results)));
    worker.postMessage(seeds);
  });
}

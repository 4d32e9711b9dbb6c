// Work on many items, a bounded number at a time.

/**
 * Runs `work` for each item, at most `concurrency` at a time, in the order of the source. Rejects with the first failure, once all work
 * that had begun has ended; nothing new is begun after a failure.
 */
export async function forEachConcurrently<T>(
  items: Iterable<T> | AsyncIterable<T>,
  concurrency: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const source = iterate(items);
  let failed = false;
  const worker = async () => {
    try {
      // Calls of next() queue, so each worker gets an item of its own.
      for (let step = await source.next(); !step.done && !failed; step = await source.next()) await work(step.value);
    } catch (cause) {
      failed = true;
      throw cause;
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: concurrency }, worker));
  await source.return(undefined);
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

async function* iterate<T>(items: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void> {
  yield* items;
}

// Who drains which shard. A split of labour, no lock: the ledger's cursor keeps two drainers of one shard from doing harm.

/**
 * Shards of one worker among all live ones, ascending. Workers that see the same list split all shards without overlap, evenly to
 * within one. A worker that is not on the list owns none.
 */
export function shardsOf(workerId: string, liveWorkerIds: readonly string[], shardCount: number): readonly number[] {
  const workers = [...new Set(liveWorkerIds)].sort();
  const own = workers.indexOf(workerId);
  if (own < 0) return [];
  const shards: number[] = [];
  for (let shard = own; shard < shardCount; shard += workers.length) shards.push(shard);
  return shards;
}

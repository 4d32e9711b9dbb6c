// Before the first record is taken: the ledger knows of every stream that records go into.
import type { Ledger } from "./ports/ledger.ts";
import type { ShardStream } from "./ports/shard-stream.ts";

export interface FollowStreamsOptions {
  readonly ledger: Pick<Ledger, "shards" | "adoptEpoch">;
  readonly stream: Pick<ShardStream, "state">;
}

/**
 * Makes the ledger follow the stream of every shard that it follows none of yet. Whoever takes records calls this first: a store that came
 * back empty before the first drain would else be taken for a new one, and what it had acknowledged would be in no gap. Idempotent. Rejects
 * when a store is away; what was done by then stands. Cost: one query, and two round trips for each shard that was never followed.
 */
export async function followStreams({ ledger, stream }: FollowStreamsOptions): Promise<void> {
  for (const { shard, epoch } of await ledger.shards()) {
    if (epoch !== "") continue;
    const state = await stream.state(shard);
    await ledger.adoptEpoch(shard, "", state.epoch, state.nowMs);
  }
}

import { expect, it } from "vitest";
import { followStreams } from "../../../src/app/follow-streams.ts";
import { MemoryLedger, MemoryStream, VirtualClock } from "../../support/memory-drain.ts";

it("a store that comes back empty before the first drain is a loss, since the ledger had followed its stream", async () => {
  const ledger = new MemoryLedger(2);
  const stream = new MemoryStream(new VirtualClock());
  await followStreams({ ledger, stream });
  const { epoch } = stream;
  expect(ledger.shard(0)).toMatchObject({ epoch, cursor: "0-0" });
  expect(ledger.gaps).toEqual([]);
  stream.wipe();
  // Another process starts. What is followed already is the drain's to compare.
  await followStreams({ ledger, stream });
  expect(ledger.shard(0).epoch).toBe(epoch);
  await ledger.adoptEpoch(0, epoch, stream.epoch);
  expect(ledger.gaps).toHaveLength(1);
});

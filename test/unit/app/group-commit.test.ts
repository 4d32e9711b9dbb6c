import { describe, expect, it } from "vitest";
import { GroupCommitLane } from "../../../src/app/group-commit.ts";

/** A lane whose commits the test ends by hand. Items are numbers; the result of an item is its double. */
function lane(limits: { maxBatch?: number; maxWaiting?: number } = {}) {
  const commits: { items: readonly number[]; succeed: () => void; fail: (cause: unknown) => void }[] = [];
  let inFlight = 0;
  let mostInFlight = 0;
  let onCommit = () => {};
  const under = new GroupCommitLane<number, number>({
    maxBatch: limits.maxBatch ?? 100,
    maxWaiting: limits.maxWaiting ?? 100,
    commit: async (items) => {
      inFlight += 1;
      mostInFlight = Math.max(mostInFlight, inFlight);
      try {
        await new Promise<void>((succeed, fail) => {
          commits.push({ items, succeed, fail });
          onCommit();
        });
      } finally {
        inFlight -= 1;
      }
      return items.map((item) => item * 2);
    },
  });
  /** The nth commit, from 0, once it has begun. */
  const commit = async (n: number) => {
    while (commits.length <= n) {
      await new Promise<void>((resolve) => {
        onCommit = resolve;
      });
    }
    const begun = commits[n];
    if (begun === undefined) throw new Error(`no commit ${n}`);
    return begun;
  };
  return { under, commits, commit, mostInFlight: () => mostInFlight };
}

describe("a lane of group commits", () => {
  it("commits together what comes in one turn, and gives each caller its own results", async () => {
    const { under, commit } = lane();
    const calls = [under.submit([1]), under.submit([2, 3]), under.submit([4])];
    const first = await commit(0);
    expect(first.items).toEqual([1, 2, 3, 4]);
    first.succeed();
    expect(await Promise.all(calls)).toEqual([[2], [4, 6], [8]]);
  });

  it("has one commit in flight; what comes meanwhile goes in the next", async () => {
    const { under, commits, commit, mostInFlight } = lane();
    const one = under.submit([1]);
    const first = await commit(0);
    const others = [under.submit([2]), under.submit([3])];
    await new Promise((resolve) => setImmediate(resolve));
    expect(commits).toHaveLength(1);
    expect(under.waitingCount).toBe(2);
    first.succeed();
    expect(await one).toEqual([2]);
    const second = await commit(1);
    expect(second.items).toEqual([2, 3]);
    second.succeed();
    expect(await Promise.all(others)).toEqual([[4], [6]]);
    expect(mostInFlight()).toBe(1);
  });

  it("splits a queue that is longer than a batch, but never a submission", async () => {
    const { under, commit } = lane({ maxBatch: 3 });
    const calls = [
      under.submit([1, 2]),
      under.submit([3, 4]),
      under.submit([5]),
      under.submit([6, 7, 8, 9]),
      under.submit([10]),
    ];
    const batches: (readonly number[])[] = [];
    for (let n = 0; n < 4; n += 1) {
      const { items, succeed } = await commit(n);
      batches.push(items);
      succeed();
    }
    expect(batches).toEqual([[1, 2], [3, 4, 5], [6, 7, 8, 9], [10]]);
    expect((await Promise.all(calls)).flat()).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
  });

  it("refuses what does not fit its queue, and takes it once there is room", async () => {
    const { under, commit } = lane({ maxWaiting: 2 });
    const held = under.submit([1, 2]);
    await expect(under.submit([3])).rejects.toMatchObject({ failure: { kind: "intake_full" } });
    const first = await commit(0);
    const later = under.submit([3, 4]);
    await expect(under.submit([5])).rejects.toMatchObject({ failure: { kind: "intake_full" } });
    first.succeed();
    await held;
    (await commit(1)).succeed();
    expect(await later).toEqual([6, 8]);
  });

  it("gives a failure to all of its batch, and goes on with the next", async () => {
    const { under, commit } = lane({ maxBatch: 2 });
    const calls = [under.submit([1]), under.submit([2]), under.submit([3])];
    const ended = Promise.allSettled(calls);
    const cause = new Error("away");
    (await commit(0)).fail(cause);
    (await commit(1)).succeed();
    expect(await ended).toEqual([
      { status: "rejected", reason: cause },
      { status: "rejected", reason: cause },
      { status: "fulfilled", value: [6] },
    ]);
  });

  it("takes a commit that forgets a result for a bug, not for success", async () => {
    const forgetful = new GroupCommitLane<number, number>({ maxBatch: 10, maxWaiting: 10, commit: async () => [1] });
    await expect(forgetful.submit([1, 2])).rejects.toThrow("1 results for 2 items");
    expect(await forgetful.submit([1])).toEqual([1]);
  });
});

// Holding a lease on a clock that the test moves: the tenure must end no later than the database could give the lease to another.
import { describe, expect, test } from "vitest";
import { runWhileHeld, type Tenure } from "../../../src/app/hold-lease.ts";
import type { Clock } from "../../../src/app/ports/clock.ts";
import type { Lease, LeaseGrant } from "../../../src/app/ports/reports.ts";

const timing = { ttlMs: 6_000, renewMs: 1_500, retryMs: 1_000, stopGraceMs: 5_000 };
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Time that stands still until it is moved. */
class VirtualClock implements Clock {
  #nowMs = 1_000_000;
  readonly #sleepers = new Set<{ atMs: number; wake: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const sleeper = { atMs: this.#nowMs + delayMs, wake: () => {} };
      sleeper.wake = () => {
        this.#sleepers.delete(sleeper);
        resolve();
      };
      if (signal?.aborted) return resolve();
      signal?.addEventListener("abort", sleeper.wake, { once: true });
      this.#sleepers.add(sleeper);
    });
  }

  /** Moves on, waking sleepers in their order, each with time for what it does next. */
  async advance(byMs: number): Promise<void> {
    const untilMs = this.#nowMs + byMs;
    await settled();
    for (;;) {
      const [next] = [...this.#sleepers].filter((s) => s.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.wake();
      await settled();
    }
    this.#nowMs = untilMs;
    await settled();
  }

  /** Time passes while the process does not run: nobody wakes. */
  jump(byMs: number): void {
    this.#nowMs += byMs;
  }
}

/** Lets promises that can go on do so. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function setUp(lease: Partial<Lease> = {}, clock = new VirtualClock()) {
  const calls: string[] = [];
  let epoch = 0n;
  const full: Lease = {
    async acquire() {
      calls.push("acquire");
      epoch += 1n;
      return { epoch, ttlMs: timing.ttlMs };
    },
    async renew(grant) {
      calls.push("renew");
      return grant;
    },
    async release() {
      calls.push("release");
    },
    ...lease,
  };
  const stop = new AbortController();
  const tenures: Tenure[] = [];
  const ends: (() => void)[] = [];
  const work = (tenure: Tenure) => {
    tenures.push(tenure);
    return new Promise<void>((resolve) => {
      ends.push(resolve);
      tenure.signal.addEventListener("abort", () => resolve());
    });
  };
  const holder = { lease: full, holder: "me", timing, clock, logger: silent };
  const running = runWhileHeld(holder, stop.signal, work);
  const tenure = () => tenures.at(-1) ?? expect.fail("nobody leads");
  return { clock, calls, stop, tenures, ends, running, tenure };
}

const refused = async (): Promise<LeaseGrant> => {
  throw new Error("connection refused");
};

describe("a tenure", () => {
  test("lasts as long as renewals succeed", async () => {
    const { clock, tenures, tenure, stop, ends, running } = setUp();
    await clock.advance(60_000);
    expect(tenures).toHaveLength(1);
    expect(tenure().mayBegin()).toBe(true);
    stop.abort();
    ends[0]?.();
    await running;
  });

  test("outlives renewals that fail, until the grant has run out, counted from before it was asked for", async () => {
    const { clock, tenure } = setUp({ renew: refused });
    await clock.advance(5_999);
    expect(tenure().signal.aborted).toBe(false);
    expect(tenure().mayBegin()).toBe(true);
    await clock.advance(1);
    expect(tenure().signal.aborted).toBe(true);
    expect(tenure().mayBegin()).toBe(false);
  });

  test("an acquire that took long leaves less", async () => {
    const clock = new VirtualClock();
    const acquire = async () => {
      await clock.sleep(4_000);
      return { epoch: 1n, ttlMs: timing.ttlMs };
    };
    const { tenure } = setUp({ acquire, renew: refused }, clock);
    await clock.advance(4_000);
    expect(tenure().mayBegin()).toBe(true);
    await clock.advance(1_999);
    expect(tenure().mayBegin()).toBe(true);
    await clock.advance(1);
    expect(tenure().mayBegin()).toBe(false);
  });

  test("ends with a renewal that hangs", async () => {
    const { clock, tenure } = setUp({ renew: () => new Promise(() => {}) });
    await clock.advance(5_999);
    expect(tenure().signal.aborted).toBe(false);
    await clock.advance(1);
    expect(tenure().signal.aborted).toBe(true);
  });

  test("ends at once when the lease is found lost", async () => {
    const { clock, tenure } = setUp({ renew: async () => undefined });
    await clock.advance(1_500);
    expect(tenure().signal.aborted).toBe(true);
  });

  test("of a process that was paused past the lease may begin nothing, before any timer has run", async () => {
    const { clock, tenure } = setUp();
    await clock.advance(3_000);
    expect(tenure().mayBegin()).toBe(true);
    clock.jump(6_000);
    expect(tenure().signal.aborted).toBe(false);
    expect(tenure().mayBegin()).toBe(false);
  });

  test("is followed by another campaign: after loss, after an end, after a failure", async () => {
    const { clock, tenures, calls, ends } = setUp();
    await clock.advance(10);
    ends[0]?.();
    await clock.advance(10);
    expect(calls.slice(-2)).toEqual(["acquire", "release"]);
    await clock.advance(timing.retryMs);
    expect(tenures).toHaveLength(2);
    expect(tenures.map((t) => t.grant.epoch)).toEqual([1n, 2n]);
  });
});

describe("a stop", () => {
  test("lets the work finish under a lease that is renewed meanwhile, then frees it", async () => {
    const { clock, stop, tenure, ends, running, calls } = setUp();
    await clock.advance(10);
    stop.abort();
    await clock.advance(4_000);
    expect(tenure().stopping.aborted).toBe(true);
    expect(tenure().mayBegin()).toBe(false);
    expect(tenure().signal.aborted).toBe(false);
    expect(calls.filter((call) => call === "renew")).toHaveLength(2);
    ends[0]?.();
    await running;
    expect(calls.at(-1)).toBe("release");
  });

  test("aborts work that goes on past the grace, then frees the lease", async () => {
    const { clock, stop, tenure, running, calls } = setUp();
    await clock.advance(10);
    stop.abort();
    await clock.advance(5_000);
    expect(tenure().signal.aborted).toBe(true);
    await running;
    expect(calls.at(-1)).toBe("release");
  });

  test("ends a campaign at once", async () => {
    const { clock, stop, running, tenures } = setUp({ acquire: async () => undefined });
    await clock.advance(3_500);
    stop.abort();
    await running;
    expect(tenures).toEqual([]);
  });
});

test("campaigns go on while Postgres is away, and a failed release harms nothing", async () => {
  let away = true;
  const { clock, stop, ends, tenures, running } = setUp({
    acquire: async () => (away ? refused() : { epoch: 1n, ttlMs: timing.ttlMs }),
    release: async () => {
      throw new Error("connection refused");
    },
  });
  await clock.advance(3_500);
  expect(tenures).toEqual([]);
  away = false;
  await clock.advance(1_000);
  expect(tenures).toHaveLength(1);
  stop.abort();
  ends[0]?.();
  await running;
});

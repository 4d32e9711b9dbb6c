import { expect, test, vi } from "vitest";
import { LEASE_TIMING, runWhileHeld, type Tenure } from "../../../src/app/hold-lease.ts";
import { type Lease, StaleLeaseError } from "../../../src/app/ports/reports.ts";
import { inFencedTransaction, postgresLease } from "../../../src/postgres/lease.ts";
import type { Pool } from "../../../src/postgres/pool.ts";
import { testClock } from "../../support/clock.ts";
import { useTestDatabase } from "../../support/postgres.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Makes the lease run out, as if nobody had renewed it for long. */
async function expire(pool: Pool): Promise<void> {
  await pool.query("UPDATE lease SET expires_at = clock_timestamp() - interval '1 ms' WHERE name = 'flush'");
}

/** Whether some session waits for a lock, once one does. */
async function lockWaited(pool: Pool): Promise<void> {
  await vi.waitFor(async () => {
    const waiting = await pool.query(
      "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    );
    expect(waiting.rowCount).toBe(1);
  }, 55_000);
}

test("one holder at a time, each under a greater epoch", async () => {
  const { pool } = await useTestDatabase();
  const lease = postgresLease(pool, "flush");
  const first = await lease.acquire("a", 60_000);
  expect(first).toMatchObject({ epoch: 1n, ttlMs: 60_000 });
  expect(await lease.acquire("b", 60_000)).toBeUndefined();
  expect(await lease.acquire("a", 60_000)).toBeUndefined();
  await expire(pool);
  expect(await lease.acquire("b", 60_000)).toMatchObject({ epoch: 2n });
  expect(first && (await lease.renew(first))).toBeUndefined();
});

test("leases of other names are apart", async () => {
  const { pool } = await useTestDatabase();
  expect(await postgresLease(pool, "flush").acquire("a", 60_000)).toMatchObject({ epoch: 1n });
  expect(await postgresLease(pool, "other").acquire("b", 60_000)).toMatchObject({ epoch: 1n });
});

test("a lease that has run out is not renewed, though nobody took it", async () => {
  const { pool } = await useTestDatabase();
  const lease = postgresLease(pool, "flush");
  const grant = await lease.acquire("a", 60_000);
  expect(grant && (await lease.renew(grant))).toMatchObject({ epoch: 1n });
  await expire(pool);
  expect(grant && (await lease.renew(grant))).toBeUndefined();
});

test("a release frees at once, and a late one takes nothing from the next holder", async () => {
  const { pool } = await useTestDatabase();
  const lease = postgresLease(pool, "flush");
  const first = await lease.acquire("a", 60_000);
  if (first) await lease.release(first);
  const second = await lease.acquire("b", 60_000);
  expect(second).toMatchObject({ epoch: 2n });
  if (first) await lease.release(first);
  expect(second && (await lease.renew(second))).toMatchObject({ epoch: 2n });
});

test("of 20 racers one wins, for the first row and for an expired one", async () => {
  const { connect, pool } = await useTestDatabase();
  const pools = [connect(), connect(), connect(), connect()];
  for (const epoch of [1n, 2n, 3n]) {
    const racers = Array.from({ length: 20 }, (_, i) => postgresLease(pools[i % 4] ?? pool, "flush"));
    const grants = await Promise.all(racers.map((lease, i) => lease.acquire(`racer ${i}`, 60_000)));
    expect(grants.filter((grant) => grant !== undefined)).toEqual([{ epoch, ttlMs: 60_000 }]);
    await expire(pool);
  }
});

test("the fence: a stale leader's transaction is refused before it writes", async () => {
  const { pool } = await useTestDatabase();
  const lease = postgresLease(pool, "flush");
  const stale = (await lease.acquire("a", 60_000)) ?? expect.fail("not acquired");
  await expire(pool);
  // Run out, but nobody else writes: what it says is still true.
  await inFencedTransaction(pool, "flush", stale, async () => {});
  await lease.acquire("b", 60_000);
  const write = vi.fn();
  await expect(inFencedTransaction(pool, "flush", stale, write)).rejects.toThrow(StaleLeaseError);
  expect(write).not.toHaveBeenCalled();
});

test("the fence: nobody is appointed while a write is in its commit, and renewals do not wait for it", async () => {
  const { pool } = await useTestDatabase();
  const lease = postgresLease(pool, "flush");
  const grant = (await lease.acquire("a", 60_000)) ?? expect.fail("not acquired");
  let appointed = false;
  let next: Promise<unknown> | undefined;
  await inFencedTransaction(pool, "flush", grant, async (client) => {
    expect(await lease.renew(grant)).toBeDefined();
    await expire(pool);
    next = postgresLease(pool, "flush")
      .acquire("b", 60_000)
      .then((won) => {
        appointed = true;
        return won;
      });
    await lockWaited(pool);
    await client.query("INSERT INTO flush_request (customer_id) VALUES ('written')");
    expect(appointed).toBe(false);
  });
  expect(await next).toMatchObject({ epoch: 2n });
});

test("a leader that stops in the middle of a write does not keep its successor out for long", async () => {
  const { pool } = await useTestDatabase();
  const lease = postgresLease(pool, "flush");
  const grant = (await lease.acquire("a", 60_000)) ?? expect.fail("not acquired");
  let resume = () => {};
  const paused = new Promise<void>((resolve) => {
    resume = resolve;
  });
  const write = inFencedTransaction(pool, "flush", grant, async (client) => {
    await client.query("INSERT INTO flush_request (customer_id) VALUES ('never written')");
    await paused;
  });
  const refused = expect(write).rejects.toThrow();
  await expire(pool);
  const startedMs = performance.now();
  expect(await lease.acquire("b", 60_000)).toMatchObject({ epoch: 2n });
  expect(performance.now() - startedMs).toBeLessThan(4_000);
  resume();
  await refused;
  expect((await pool.query("SELECT 1 FROM flush_request")).rowCount).toBe(0);
});

function hold(lease: Lease, holder: string, stop: AbortSignal, work: (tenure: Tenure) => Promise<void>): Promise<void> {
  return runWhileHeld({ lease, holder, timing: LEASE_TIMING, clock: testClock(), logger: silent }, stop, work);
}

test("a clean stop hands over at once; a leader that vanishes is replaced within 10 s", async () => {
  const { connect } = await useTestDatabase();
  const led: { holder: string; atMs: number; epoch: bigint }[] = [];
  const lead = (holder: string, stop: AbortSignal, lease = postgresLease(connect(), "flush")) =>
    hold(lease, holder, stop, async (tenure) => {
      led.push({ holder, atMs: performance.now(), epoch: tenure.grant.epoch });
      await Promise.race([ended(tenure.stopping), ended(tenure.signal)]);
    });
  const stopFirst = new AbortController();
  const stopRest = new AbortController();
  const first = lead("first", stopFirst.signal);
  await vi.waitFor(() => expect(led).toHaveLength(1), 55_000);

  // Killed: neither renews nor releases, as far as the database can see.
  const real = postgresLease(connect(), "flush");
  const killed: Lease = { ...real, renew: () => new Promise(() => {}), release: async () => {} };
  const second = lead("second", stopRest.signal, killed);
  stopFirst.abort();
  const stoppedMs = performance.now();
  await vi.waitFor(() => expect(led).toHaveLength(2), 55_000);
  expect((led[1]?.atMs ?? Number.NaN) - stoppedMs).toBeLessThan(2_000);
  await first;

  const third = lead("third", stopRest.signal);
  await vi.waitFor(() => expect(led.map((l) => l.holder)).toContain("third"), 55_000);
  const [, vanished, successor] = led;
  expect((successor?.atMs ?? Number.NaN) - (vanished?.atMs ?? Number.NaN)).toBeLessThan(10_000);
  expect(led.map(({ epoch }) => epoch)).toEqual([1n, 2n, 3n]);
  stopRest.abort();
  await Promise.all([second, third]);
}, 40_000);

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

import { expect, test } from "vitest";
import type { Tenure } from "../../../src/app/hold-lease.ts";
import { leadAll, repeatedly } from "../../../src/app/lead.ts";
import { StaleLeaseError } from "../../../src/app/ports/reports.ts";

function tenureUntil(stopping: AbortSignal): Tenure {
  return {
    grant: { epoch: 1n, ttlMs: 1_000 },
    signal: new AbortController().signal,
    stopping,
    mayBegin: () => !stopping.aborted,
  };
}

const untilStopped = (tenure: Tenure) =>
  new Promise<void>((resolve) => tenure.stopping.addEventListener("abort", () => resolve(), { once: true }));

test("when one work fails the others are stopped and waited for", async () => {
  const ended: string[] = [];
  const works = [
    async (tenure: Tenure) => {
      await untilStopped(tenure);
      expect(tenure.mayBegin()).toBe(false);
      ended.push("other");
    },
    async () => {
      throw new Error("no more");
    },
  ];
  await expect(leadAll(tenureUntil(new AbortController().signal), works)).rejects.toThrow("no more");
  expect(ended).toEqual(["other"]);
});

test("all end when the tenure stops", async () => {
  const stop = new AbortController();
  const leading = leadAll(tenureUntil(stop.signal), [untilStopped, untilStopped]);
  stop.abort();
  await leading;
});

test("a pass that fails is told once an outage, and tried again; a lost lease is not", async () => {
  const stop = new AbortController();
  const told: string[] = [];
  let passes = 0;
  const clock = { nowMs: () => 0, monotonicMs: () => 0, sleep: async () => {} };
  const logger = { debug() {}, info() {}, warn() {}, error: (_: unknown, message: string) => void told.push(message) };
  const work = repeatedly({
    name: "the pass",
    intervalMs: 1,
    clock,
    logger,
    pass: async () => {
      passes += 1;
      if (passes === 5) throw new StaleLeaseError("another leads");
      if (passes !== 3) throw new Error("away");
    },
  });
  await expect(work(tenureUntil(stop.signal))).rejects.toThrow(StaleLeaseError);
  expect(told).toEqual(["the pass failed; it is tried again", "the pass failed; it is tried again"]);
});

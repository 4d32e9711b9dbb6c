// Comparisons that Stripe refuses, and sends that it refuses.
import { expect, test } from "vitest";
import type { MeterSink } from "../../../src/app/ports/reports.ts";
import type { SinkOutcome } from "../../../src/domain/report.ts";
import { writeOff } from "../../../src/postgres/report-desk.ts";
import { addUsage } from "../flush/harness.ts";
import { PAST_HOUR_MS, startWorld, storedReports, windowSums } from "./harness.ts";

test("customers whose sums can never be read keep none of the others from being compared", async () => {
  const world = await startWorld({ batch: 20, concurrency: 4 });
  const { pool, stripe, summaries, flush, later, reconcile, tenure } = world;
  const customers = (await Promise.all(Array.from({ length: 30 }, () => stripe.customers.create())))
    .map(({ id }) => id)
    .sort();
  await addUsage(pool, ...customers.map((customerId) => ({ customerId, windowStartMs: PAST_HOUR_MS, quantity: 1n })));
  await flush();
  await later();
  const gone = new Set(customers.slice(0, 10));
  const refusing: typeof summaries = {
    ...summaries,
    hours: (of, interval, signal) =>
      gone.has(of.stripeCustomerId)
        ? Promise.reject(new Error("no such customer"))
        : summaries.hours(of, interval, signal),
  };
  const leader = reconcile({ summaries: refusing });
  for (let pass = 0; pass < 6; pass++) await leader.pass(tenure);
  const left = (await storedReports(pool)).filter((r) => r.reconciled_at === null);
  expect(left).toHaveLength(gone.size);
});

test("what is refused after a send of unknown fate is looked for in Stripe's sums, before anybody sends it again", async () => {
  const world = await startWorld();
  const { pool, sink, use, flush, later, pass } = world;
  await use(3, 5n);
  const outcomes: SinkOutcome[] = [
    { kind: "unknown", message: "the answer was lost" },
    { kind: "refused", code: "other", message: "no" },
  ];
  const losing: MeterSink = {
    ...sink,
    async send(reports, signal) {
      const outcome = outcomes.shift();
      if (outcome?.kind === "unknown") await sink.send(reports, signal);
      return reports.map(() => outcome ?? { kind: "unknown", message: "asked too often" });
    },
  };
  await flush(losing);
  await later();
  await flush(losing);
  const [held = expect.fail("no report")] = await storedReports(pool);
  expect(held).toMatchObject({ state: "held", reason: "other" });
  await writeOff(pool, [held.identifier], "billed by hand");
  await later();
  await pass();
  expect(await storedReports(pool)).toMatchObject([{ state: "accepted" }]);
  expect(await windowSums(pool)).toEqual({ total: 5n, accepted: 5n });
  // What Stripe counted is written off no more, and still says that it was.
  expect((await pool.query("SELECT written_off_at, message FROM report")).rows).toEqual([
    { written_off_at: null, message: expect.stringContaining("; before: written off: billed by hand") },
  ]);
});

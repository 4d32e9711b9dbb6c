// Comparisons that fail, for as long as Stripe refuses to tell the sums of some customers.
import { expect, test } from "vitest";
import { addUsage } from "../flush/harness.ts";
import { PAST_HOUR_MS, startWorld, storedReports } from "./harness.ts";

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

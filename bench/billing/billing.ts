// The way to Stripe, measured: both sinks, and the planner where nearly nothing changed.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDatabase, fillWindows, startPostgres } from "./database.ts";
import { type PlannerRun, runPlanner } from "./planner.ts";
import type { BillingMeasured } from "./report.ts";
import { runSendPath, type SendPlan, type SendRun } from "./send-path.ts";

export const BILLING_SCENARIOS = ["v1", "stream", "planner"] as const;
export type BillingScenario = (typeof BILLING_SCENARIOS)[number];

/** Reports of a run: 10,000 through v1, 100,000 through the stream; a tenth of that in a quick one. */
function plansOf(scenarios: readonly BillingScenario[], quick: boolean): SendPlan[] {
  const common = { customers: 500, concurrency: 16 };
  const plans: SendPlan[] = [
    { ...common, sink: "v1", windows: quick ? 2 : 10 },
    { ...common, sink: "stream", windows: quick ? 10 : 100 },
  ];
  return plans.filter((plan) => scenarios.includes(plan.sink));
}

/** Runs the scenarios `rounds` times in turn, unless `interruption` rejects. `onStep` hears of each step before it begins. */
export async function measureBilling(
  scenarios: readonly BillingScenario[],
  rounds: number,
  quick: boolean,
  interruption: Promise<never>,
  onStep: (step: string) => void,
): Promise<BillingMeasured> {
  const sends = plansOf(scenarios, quick).map((plan) => ({ plan, runs: [] as SendRun[] }));
  const planner: PlannerRun[] = [];
  const dir = mkdtempSync(join(tmpdir(), "metering-bench-"));
  const postgres = await startPostgres(dir);
  try {
    for (let round = 1; round <= rounds; round += 1) {
      for (const { plan, runs } of sends) {
        onStep(`round ${round}: ${plan.sink}`);
        runs.push(await Promise.race([runSendPath(postgres, plan), interruption]));
      }
    }
    if (scenarios.includes("planner")) {
      const windows = quick ? 100_000 : 1_000_000;
      onStep(`filling ${windows.toLocaleString("en-US")} windows`);
      const { pool } = await createDatabase(postgres, "bench_planner");
      try {
        await fillWindows(pool, windows, ["input_tokens"], 1, true);
        for (let round = 1; round <= rounds; round += 1) {
          onStep(`round ${round}: planner`);
          planner.push(await Promise.race([runPlanner(pool, windows, round), interruption]));
        }
      } finally {
        await pool.end();
      }
    }
  } finally {
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  }
  return { sends, planner };
}

// What the billing scenarios say: an object for machines, lines for people. Ratios are of runs of the same round.
import { type Spread, spreadOf } from "../statistics.ts";
import type { PlannerRun } from "./planner.ts";
import type { SendPlan, SendRun } from "./send-path.ts";

/** All runs of the scenarios that were asked for, in order of the rounds. */
export interface BillingMeasured {
  readonly sends: readonly { readonly plan: SendPlan; readonly runs: readonly SendRun[] }[];
  readonly planner: readonly PlannerRun[];
}

/** The JSON that is printed. */
export function toBillingReport({ sends, planner }: BillingMeasured): object {
  return {
    sends: sends.map(({ plan, runs }) => ({
      name: plan.sink,
      concurrency: plan.concurrency,
      reports: runs[0]?.reports,
      ratio_to_bare_sdk: spreadOf(runs.map(ratioOf)),
      reports_per_second: spreadOf(runs.map((run) => run.reportsPerSecond)),
      bare_events_per_second: spreadOf(runs.map((run) => run.bareEventsPerSecond)),
      planned_per_second: spreadOf(runs.map((run) => run.plannedPerSecond)),
      cpu_us_a_report: Object.fromEntries(cpuOf(runs)),
    })),
    ...(planner.length > 0 && {
      planner: {
        windows: planner[0]?.windows,
        planned: planner[0]?.planned,
        pass_ms: spreadOf(planner.map((run) => run.passMs)),
        us_a_report: spreadOf(planner.map(microsAReport)),
        idle_pass_ms: spreadOf(planner.map((run) => run.idlePassMs)),
      },
    }),
  };
}

/** One line a scenario; medians over the rounds. */
export function toBillingLines({ sends, planner }: BillingMeasured): string {
  const lines = sends.map(({ plan, runs }) => {
    const ratio = spreadOf(runs.map(ratioOf));
    return [
      `${plan.sink}: ${whole(spreadOf(runs.map((run) => run.reportsPerSecond)))} reports/s`,
      `${ratio?.median.toFixed(2)} (${ratio?.min.toFixed(2)}..${ratio?.max.toFixed(2)}) of the bare SDK's ${whole(spreadOf(runs.map((run) => run.bareEventsPerSecond)))}`,
      `planned before at ${whole(spreadOf(runs.map((run) => run.plannedPerSecond)))}/s`,
      ...cpuOf(runs).map(([name, spread]) => `CPU of ${name} ${whole(spread)} us a report`),
    ].join(", ");
  });
  const [first] = planner;
  if (first !== undefined) {
    const passMs = whole(spreadOf(planner.map((run) => run.passMs)));
    const idleMs = spreadOf(planner.map((run) => run.idlePassMs))?.median.toFixed(1);
    lines.push(
      `planner: ${first.planned.toLocaleString("en-US")} of ${first.windows.toLocaleString("en-US")} customers' windows changed: a pass of ${passMs} ms, ` +
        `${whole(spreadOf(planner.map(microsAReport)))} us a report; ${idleMs} ms where nothing changed`,
    );
  }
  return `${lines.join("\n")}\n`;
}

function cpuOf(runs: readonly SendRun[]): [string, Spread | undefined][] {
  return Object.keys(runs[0]?.cpuMicros ?? {}).map((name) => [
    name,
    spreadOf(runs.map((run) => run.cpuMicros[name] ?? Number.NaN)),
  ]);
}

function ratioOf(run: SendRun): number {
  return run.reportsPerSecond / run.bareEventsPerSecond;
}

function microsAReport(run: PlannerRun): number {
  return (run.passMs * 1000) / run.planned;
}

function whole(value: Spread | undefined): string {
  return value === undefined ? "" : Math.round(value.median).toLocaleString("en-US");
}

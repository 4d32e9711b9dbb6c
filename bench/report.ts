// What a bench says: a table for people, an object for machines. Ratios are of runs of the same round, since a machine's mood changes.
import { arch, cpus, platform, totalmem } from "node:os";
import { CUSTOMERS, type Run, type Shape, type Timing } from "./scenarios.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import type { Target } from "./targets.ts";

/** All runs of one target under one shape, in order of the rounds. */
export interface Measured {
  readonly target: Target["name"];
  readonly shape: Shape;
  readonly runs: readonly Run[];
}

/** The JSON that is printed. */
export function toReport(measured: readonly Measured[], timing: Timing, rounds: number, versions: object): object {
  const emptyOf = (name: Shape["name"]) => measured.find((m) => m.target === "empty" && m.shape.name === name);
  const scenarios = measured.map((of) => ({
    name: `${of.target} ${of.shape.name}`,
    target: of.target,
    shape: of.shape.name,
    records_a_call: of.shape.batch,
    concurrent_calls: of.shape.calls,
    connections: of.shape.connections,
    ratio_to_empty: ratioOf(of, emptyOf(of.shape.name)),
    ratio_to_empty_single: ratioOf(of, emptyOf("single")),
    records_per_second: spread(of, (run) => run.recordsPerSecond),
    latency_ms: { p50: spread(of, (run) => run.p50Ms), p99: spread(of, (run) => run.p99Ms) },
    lone_caller_ms: { p50: spread(of, (run) => run.loneP50Ms), p99: spread(of, (run) => run.loneP99Ms) },
    cpu_us_a_record: Object.fromEntries(
      Object.keys(of.runs[0]?.cpuMicros ?? {}).map((name) => [name, spread(of, (run) => run.cpuMicros[name])]),
    ),
    drain_records_per_second: spread(of, (run) => run.drainRecordsPerSecond),
    acknowledged: sum(of, (run) => run.acknowledged),
    retries: sum(of, (run) => run.retries),
    stored: of.target === "empty" ? undefined : sum(of, (run) => run.stored),
  }));
  return { machine: machine(versions), settings: { ...timing, rounds, customers: CUSTOMERS }, scenarios };
}

/** One row a scenario; medians over the rounds, the ratio with its lowest and highest. */
export function toTable(measured: readonly Measured[]): string {
  const head = ["", "records/s", "ratio to empty", "p50 ms", "p99 ms", "alone p50", "alone p99", "CPU us a record"];
  const rows = measured.map((of) => {
    const empty = measured.find((m) => m.target === "empty" && m.shape.name === of.shape.name);
    const ratio = ratioOf(of, empty);
    const cpu = Object.keys(of.runs[0]?.cpuMicros ?? {}).map(
      (name) => `${name} ${spread(of, (run) => run.cpuMicros[name])?.median.toFixed(1)}`,
    );
    return [
      `${of.target} ${of.shape.name === "batch" ? `batch of ${of.shape.batch}` : of.shape.name}`,
      whole(spread(of, (run) => run.recordsPerSecond)),
      ratio === undefined ? "" : `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)})`,
      ...[
        (run: Run) => run.p50Ms,
        (run: Run) => run.p99Ms,
        (run: Run) => run.loneP50Ms,
        (run: Run) => run.loneP99Ms,
      ].map((read) => spread(of, read)?.median.toFixed(2) ?? ""),
      cpu.join(", "),
    ];
  });
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const lines = all.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))),
  );
  const retried = measured.flatMap((of) => {
    const retries = sum(of, (run) => run.retries);
    return retries === 0 ? [] : [`${of.target} ${of.shape.name}: ${retries} calls were sent again`];
  });
  const drains = measured.flatMap((of) => {
    const rate = spread(of, (run) => run.drainRecordsPerSecond);
    return rate === undefined
      ? []
      : [`${of.target} ${of.shape.name}: the drain then caught up at ${whole(rate)} records/s`];
  });
  return `${[...lines.map((line) => line.join("  ").trimEnd()), ...drains, ...retried].join("\n")}\n`;
}

/** One line on where this ran. */
export function machine(versions: object): Record<string, unknown> {
  const cores = cpus();
  return {
    cores: cores.length,
    cpu: cores[0]?.model.trim() ?? "unknown",
    memory_gib: Math.round(totalmem() / 2 ** 30),
    platform: `${platform()} ${arch()}`,
    node: process.versions.node,
    ...versions,
  };
}

function ratioOf(of: Measured, empty: Measured | undefined): Spread | undefined {
  const ratios = of.runs.map(
    (run, round) => run.recordsPerSecond / (empty?.runs[round]?.recordsPerSecond ?? Number.NaN),
  );
  return empty === undefined ? undefined : spreadOf(ratios);
}

function spread(of: Measured, read: (run: Run) => number | undefined): Spread | undefined {
  return spreadOf(of.runs.map(read).filter((value) => value !== undefined));
}

function sum(of: Measured, read: (run: Run) => number): number {
  return of.runs.reduce((total, run) => total + read(run), 0);
}

function whole(value: Spread | undefined): string {
  return value === undefined ? "" : Math.round(value.median).toLocaleString("en-US");
}

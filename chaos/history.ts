// What happened around a violation: its record's deliveries, the faults of that time, what the processes complained of.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Violation } from "../simulation/core/oracle.ts";
import type { Evidence } from "./evidence.ts";
import type { Fault } from "./faults.ts";
import type { Tenure } from "./lease-watch.ts";

const BEFORE_MS = 5_000;
const AFTER_MS = 15_000;
const LINES_MAX = 60;

interface Line {
  readonly atMs: number;
  readonly text: string;
}

export interface HistorySources {
  readonly evidence: Evidence;
  readonly faults: readonly Fault[];
  readonly tenures: readonly Tenure[];
  /** Logs of the processes, one file each. */
  readonly logDir: string;
}

/** At most some dozens of lines, by time. Nothing where nobody knows when it was. */
export function historyOf({ subjects, message }: Violation, sources: HistorySources): readonly string[] {
  const accounts = subjects.flatMap((subject) => [...(sources.evidence.accounts.get(subject)?.values() ?? [])]);
  const times = accounts.flatMap(({ firstSentMs, ackMs }) => [firstSentMs, ...(ackMs === undefined ? [] : [ackMs])]);
  for (const [found] of message.matchAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z/g)) times.push(Date.parse(found));
  if (times.length === 0) return [];
  const fromMs = Math.min(...times) - BEFORE_MS;
  const toMs = Math.max(...times) + AFTER_MS;
  const lines: Line[] = accounts.flatMap(({ firstSentMs, ackMs, content }) => [
    { atMs: firstSentMs, text: `client: sends ${content}` },
    ...(ackMs === undefined ? [] : [{ atMs: ackMs, text: `client: is told that ${content} is stored` }]),
  ]);
  for (const { n, kind, target, fromMs: from, toMs: to } of sources.faults) {
    if (to < fromMs || from > toMs) continue;
    lines.push(
      { atMs: from, text: `fault ${n} begins: ${kind} ${target}` },
      { atMs: to, text: `fault ${n} is over: ${kind} ${target}` },
    );
  }
  for (const { epoch, holder, seenMs } of sources.tenures)
    if (fromMs <= seenMs && seenMs <= toMs)
      lines.push({ atMs: seenMs, text: `lease: epoch ${epoch} goes to ${holder}` });
  lines.push(...complaints(sources.logDir, fromMs, toMs));
  return lines
    .sort((a, b) => a.atMs - b.atMs)
    .slice(0, LINES_MAX)
    .map(({ atMs, text }) => `${new Date(atMs).toISOString()}  ${text}`);
}

/** Warnings and errors of all processes in a span of time. */
function complaints(logDir: string, fromMs: number, toMs: number): Line[] {
  return readdirSync(logDir).flatMap((file) =>
    readFileSync(join(logDir, file), "utf8")
      .split("\n")
      .flatMap((text) => {
        if (!text.startsWith('{"level":') || /^\{"level":[123]0/.test(text)) return [];
        const line = JSON.parse(text) as { time: number | string; msg: string; err?: { message?: string } };
        const atMs = new Date(line.time).getTime();
        if (!(fromMs <= atMs && atMs <= toMs)) return [];
        const why = line.err?.message === undefined ? "" : `: ${line.err.message.split("\n")[0]}`;
        return [{ atMs, text: `${file.replace(".log", "")}: ${line.msg}${why}` }];
      }),
  );
}

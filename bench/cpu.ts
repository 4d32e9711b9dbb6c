// CPU time of a server, with the processes that it forks: Postgres serves each connection by one.
import { readdirSync, readFileSync } from "node:fs";

/** USER_HZ, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Seconds since its start, of the process, its living children and those it has waited for. Undefined where there is no /proc. */
export function cpuSeconds(pid: number): number | undefined {
  const own = readStat(pid);
  if (own === undefined) return undefined;
  let ticks = own.ticks + own.endedChildrenTicks;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = readStat(Number(entry));
    if (stat?.parent === pid) ticks += stat.ticks;
  }
  return ticks / TICKS_PER_SECOND;
}

function readStat(pid: number): { parent: number; ticks: number; endedChildrenTicks: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    // No such process any more, or no /proc.
    return undefined;
  }
  // Fields after the command, which may hold any character: state, ppid, ..., utime is the 12th, then stime, cutime, cstime.
  const fields = text
    .slice(text.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  const [parent = 0, utime = 0, stime = 0, cutime = 0, cstime = 0] = [1, 11, 12, 13, 14].map((i) => fields[i] ?? 0);
  return { parent, ticks: utime + stime, endedChildrenTicks: cutime + cstime };
}

// Which process a remembered pid stands for now. Pids are reused, so a pid alone proves nothing and must never be signalled.
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

const POLL_MS = 20;

/** Names a process for as long as the machine is up: two processes that had the same pid differ. Undefined when none lives. */
export async function processIdentity(pid: number): Promise<string | undefined> {
  return process.platform === "linux" ? linuxIdentity(pid) : psIdentity(pid);
}

/**
 * Sends `signal` to the process if it still is the one named, and waits until it is gone; false when it outlived `timeoutMs`.
 * Also true when it had ended before.
 */
export async function endProcess(
  pid: number,
  identity: string,
  signal: NodeJS.Signals,
  timeoutMs: number,
): Promise<boolean> {
  if ((await processIdentity(pid)) !== identity) return true;
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ESRCH") throw cause;
  }
  // Only a parent is told of an exit, and an orphan's parent is gone: looking is all that is left.
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += POLL_MS) {
    if ((await processIdentity(pid)) !== identity) return true;
    await delay(POLL_MS);
  }
  return false;
}

async function linuxIdentity(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // Fields after the command, which is in parentheses and may hold any character: state is the 1st, start time the 20th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z") return undefined;
    const bootId = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
    return `${bootId.trim()}:${fields[19]}`;
  } catch {
    return undefined;
  }
}

async function psIdentity(pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)("ps", ["-o", "stat=,lstart=", "-p", String(pid)]);
    const [state, ...startTime] = stdout.trim().split(/\s+/);
    return state === undefined || state.startsWith("Z") ? undefined : startTime.join(" ");
  } catch {
    return undefined;
  }
}

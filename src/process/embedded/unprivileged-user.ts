// PostgreSQL refuses to run as root. Where this process is root, as in many containers, the server runs as a user without rights.
import { execFileSync } from "node:child_process";
import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** How to start a command as another user than root: prefix to the command, or ids to spawn with, and the owner its files need. */
export interface RunAs {
  readonly prefix: readonly string[];
  readonly uid?: number;
  readonly gid?: number;
  /** Undefined: files need no other owner. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

/** In order of preference. Both have an entry in the user database, which initdb asks for. */
const USERS = ["postgres", "nobody"];

/**
 * How to run a server that refuses root. `paths` must be reachable for it. An existing data directory keeps its owner. Throws, with
 * what to do, when there is no way.
 */
export function runUnprivileged(paths: readonly string[], existingDataDir: string | undefined): RunAs {
  if (process.getuid?.() !== 0) return { prefix: [], owner: undefined };
  const owner = ownerOf(existingDataDir) ?? userIds();
  const blocked = paths.find((path) => !isReachable(path, owner.uid));
  if (blocked === undefined) return { prefix: [], ...owner, owner };
  // A directory such as /root or one made by mktemp is closed to others. Linux can give the server the one right it lacks,
  // to pass through directories, and no other right of root's.
  if (process.platform === "linux" && hasSetpriv()) return { prefix: setpriv(owner), owner };
  throw new Error(
    `PostgreSQL does not run as root, and user ${owner.uid} cannot reach ${blocked}: start as another user than root, ` +
      "move the directory, install setpriv (package util-linux), or set DATABASE_URL",
  );
}

function ownerOf(path: string | undefined): { uid: number; gid: number } | undefined {
  if (path === undefined) return undefined;
  const { uid, gid } = statSync(path);
  return uid === 0 ? undefined : { uid, gid };
}

function userIds(): { uid: number; gid: number } {
  for (const user of USERS) {
    try {
      const [uid, gid] = ["-u", "-g"].map((flag) =>
        Number(execFileSync("id", [flag, user], { stdio: ["ignore", "pipe", "ignore"] })),
      );
      if (uid !== undefined && gid !== undefined && uid > 0) return { uid, gid };
    } catch {
      // No such user: try the next.
    }
  }
  throw new Error(
    `PostgreSQL does not run as root, and there is no user ${USERS.join(" or ")}: start as another user than root, or set DATABASE_URL`,
  );
}

/** Whether every directory above `path` lets `uid` through. */
function isReachable(path: string, uid: number): boolean {
  for (let dir = dirname(resolve(path)); ; dir = dirname(dir)) {
    const stat = statSync(dir);
    const searchable = stat.uid === uid ? stat.mode & 0o100 : stat.mode & 0o001;
    if (searchable === 0) return false;
    if (dir === dirname(dir)) return true;
  }
}

function hasSetpriv(): boolean {
  try {
    return execFileSync("setpriv", ["--help"], { stdio: ["ignore", "pipe", "ignore"] }).includes("--ambient-caps");
  } catch {
    return false;
  }
}

function setpriv(owner: { uid: number; gid: number }): string[] {
  const caps = "-all,+dac_override";
  return [
    "setpriv",
    `--reuid=${owner.uid}`,
    `--regid=${owner.gid}`,
    "--clear-groups",
    // Without this bit access(2), by which PostgreSQL looks for its own files, disregards capabilities.
    "--securebits=+no_setuid_fixup",
    `--inh-caps=${caps}`,
    `--ambient-caps=${caps}`,
    `--bounding-set=${caps}`,
  ];
}

// The tests run on real Redis. Where the machine has none, it is installed, if this user may; else the tests that need it say how.
import { spawnSync } from "node:child_process";

const MANAGERS: readonly { readonly probe: string; readonly commands: readonly (readonly string[])[] }[] = [
  {
    probe: "apt-get",
    commands: [
      ["apt-get", "update", "-q"],
      ["apt-get", "install", "-qy", "redis-server"],
    ],
  },
  { probe: "brew", commands: [["brew", "install", "redis"]] },
];

/** Installs Redis where neither redis-server nor valkey-server is on the PATH. Never throws: what fails is told on stderr. */
export function installRedisIfMissing(): void {
  if (runs("redis-server") || runs("valkey-server")) return;
  const manager = MANAGERS.find(({ probe }) => runs(probe));
  if (manager === undefined) return;
  for (const command of manager.commands) {
    const [program = "", ...args] = needsSudo(command) ? ["sudo", "-n", ...command] : command;
    process.stderr.write(`installing Redis: ${[program, ...args].join(" ")}\n`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const { status, stderr } = spawnSync(program, args, { env, encoding: "utf8" });
    if (status !== 0) {
      process.stderr.write(`could not install Redis; tests on it will not run: ${stderr}\n`);
      return;
    }
  }
}

function runs(program: string): boolean {
  return spawnSync(program, ["--version"]).status === 0;
}

function needsSudo([program]: readonly string[]): boolean {
  return program === "apt-get" && process.getuid?.() !== 0;
}

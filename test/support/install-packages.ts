// The tests run on real Redis, and in real Chromium. What the machine has not is installed, if this user may; else the tests that need it say how.
import { spawnSync } from "node:child_process";

interface Package {
  readonly title: string;
  readonly debian: string;
  /** Undefined: no formula of Homebrew brings it as a program on the PATH. */
  readonly homebrew: string | undefined;
}

const REDIS: Package = { title: "Redis", debian: "redis-server", homebrew: "redis" };
const CHROMIUM: Package = { title: "Chromium", debian: "chromium", homebrew: undefined };

/** Installs Redis where neither redis-server nor valkey-server is on the PATH. Never throws: what fails is told on stderr. */
export function installRedisIfMissing(): void {
  if (!runs("redis-server") && !runs("valkey-server")) install(REDIS);
}

/** Installs Chromium where it is not on the PATH. Never throws: what fails is told on stderr. */
export function installChromiumIfMissing(): void {
  if (!runs("chromium")) install(CHROMIUM);
}

function install({ title, debian, homebrew }: Package): void {
  for (const command of commandsFor(debian, homebrew)) {
    const [program = "", ...args] = needsSudo(command) ? ["sudo", "-n", ...command] : command;
    process.stderr.write(`installing ${title}: ${[program, ...args].join(" ")}\n`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const { status, stderr } = spawnSync(program, args, { env, encoding: "utf8" });
    if (status !== 0) {
      process.stderr.write(`could not install ${title}; tests on it will not run: ${stderr}\n`);
      return;
    }
  }
}

function commandsFor(debian: string, homebrew: string | undefined): string[][] {
  if (runs("apt-get"))
    return [
      ["apt-get", "update", "-q"],
      ["apt-get", "install", "-qy", debian],
    ];
  return homebrew !== undefined && runs("brew") ? [["brew", "install", homebrew]] : [];
}

function runs(program: string): boolean {
  return spawnSync(program, ["--version"]).status === 0;
}

function needsSudo([program]: readonly string[]): boolean {
  return program === "apt-get" && process.getuid?.() !== 0;
}

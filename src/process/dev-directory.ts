// The data directory of `metering dev`: who runs on it, and how other commands find that service.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { ConfigError, type Environment, parseConfig, type SettingName } from "./config/parse-config.ts";
import { SETTINGS } from "./config/settings.ts";
import { OperatorError } from "./operator-error.ts";
import { processIdentity } from "./process-identity.ts";

const LOCK_FILE = "dev.lock";
const SERVICE_FILE = "dev.json";

const OWNER = z.object({ pid: z.int().positive(), identity: z.string() });
const SERVICE = OWNER.extend({ environment: z.record(z.string(), z.string()) });

/** Settings that other commands take over from a running `dev`: where things are, never how they behave. */
const SHARED: readonly SettingName[] = [
  "databaseUrl",
  "redisUrl",
  "stripeSecretKey",
  "stripeWebhookSecrets",
  "stripeThinWebhookSecrets",
  "stripeApiBase",
  "grpcPort",
  "httpPort",
  "webhookPort",
  "opsPort",
  "host",
  "catalogFile",
  "shardCount",
];

/** Makes the directory and claims it for this process; the answer gives it up. Throws OperatorError while another process holds it. */
export async function claimDevDirectory(dataDir: string): Promise<() => void> {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  const file = join(dataDir, LOCK_FILE);
  const holder = OWNER.safeParse(readJson(file)).data;
  if (holder !== undefined) {
    if ((await processIdentity(holder.pid)) === holder.identity)
      throw new OperatorError(
        `another "metering dev" (pid ${holder.pid}) runs on ${resolve(dataDir)}: stop it, or set METERING_DATA_DIR to another directory`,
      );
    rmSync(file, { force: true });
  }
  try {
    // Exclusive: of two starts at the same instant one fails here.
    writeFileSync(file, JSON.stringify(await thisProcess()), { flag: "wx", mode: 0o600 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
    throw new OperatorError(`another "metering dev" is just starting on ${resolve(dataDir)}`);
  }
  return () => rmSync(file, { force: true });
}

/** Writes how to reach the service that this process runs; the answer takes it away. Readable by this user alone: it holds passwords. */
export async function publishDevService(dataDir: string, environment: Environment): Promise<() => void> {
  const file = join(dataDir, SERVICE_FILE);
  const shared = SHARED.map((name) => SETTINGS[name].env).flatMap((env) => {
    const value = environment[env];
    return value === undefined || value === "" ? [] : [[env, value] as const];
  });
  const body = { ...(await thisProcess()), environment: Object.fromEntries(shared) };
  writeFileSync(`${file}.new`, `${JSON.stringify(body, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return () => rmSync(file, { force: true });
}

/**
 * The environment for a command that talks to a service: as it is where DATABASE_URL is set, else with what the `dev` service running on
 * METERING_DATA_DIR published; variables that are set win. Throws ConfigError, naming `missing`, when neither is there.
 */
export async function serviceEnvironment(
  environment: Environment,
  missing: SettingName = "databaseUrl",
): Promise<Environment> {
  if (environment[SETTINGS.databaseUrl.env]) return environment;
  const { dataDir } = parseConfig(environment);
  const service = SERVICE.safeParse(readJson(join(dataDir, SERVICE_FILE))).data;
  if (service === undefined || (await processIdentity(service.pid)) !== service.identity)
    throw new ConfigError([`${SETTINGS[missing].env} is not set, and no "metering dev" is up on ${resolve(dataDir)}`]);
  const set = Object.entries(environment).filter(([, value]) => value !== undefined && value !== "");
  return { ...service.environment, ...Object.fromEntries(set) };
}

async function thisProcess(): Promise<z.infer<typeof OWNER>> {
  return { pid: process.pid, identity: (await processIdentity(process.pid)) ?? "" };
}

function readJson(file: string): unknown {
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // Cut short by a crash while it was written: it names nobody.
    return undefined;
  }
}

// From the environment to a Config, all problems at once.
import { SettingProblem } from "./setting.ts";
import { SETTINGS } from "./settings.ts";

type Settings = typeof SETTINGS;

/** Name of a setting inside the program. */
export type SettingName = keyof Settings;

/** Every setting, read and checked. Durations are milliseconds. Frozen. */
export type Config = { readonly [Name in SettingName]: Settings[Name]["fallback"] };

/** Environment variables, as process.env has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Thrown when the configuration cannot be used. Names every problem, one line each, and no secret. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

const NAMES = Object.keys(SETTINGS) as SettingName[];

/** Reads and checks every setting; those in `required` must be set. Throws ConfigError. Empty variables count as unset. */
export function parseConfig(environment: Environment, required: readonly SettingName[] = []): Config {
  const problems: string[] = unknownNames(environment);
  const values: Partial<Record<SettingName, unknown>> = {};
  for (const name of NAMES) {
    const setting = SETTINGS[name];
    const text = environment[setting.env]?.trim();
    if (text) {
      try {
        values[name] = setting.parse(text);
      } catch (cause) {
        if (!(cause instanceof SettingProblem)) throw cause;
        problems.push(
          `${setting.env} ${cause.message}${setting.secret ? "" : `, not ${JSON.stringify(withoutCredentials(text))}`}`,
        );
        values[name] = setting.fallback;
      }
    } else {
      values[name] = setting.fallback;
      if (required.includes(name)) problems.push(`${setting.env} must be set: ${setting.meaning}`);
    }
  }
  const config = Object.freeze(values) as Config;
  problems.push(...crossChecks(config));
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

/** A URL may hold a password, in a setting that is none of a secret. */
function withoutCredentials(text: string): string {
  return text.replace(/\/\/[^,\s]*@/g, "//[secret]@");
}

/** A misspelled name would leave its setting at the default, unseen. */
function unknownNames(environment: Environment): string[] {
  const known = new Set<string>(NAMES.map((name) => SETTINGS[name].env));
  return Object.keys(environment)
    .filter((name) => name.startsWith("METERING_") && !known.has(name))
    .map((name) => `${name} is not a setting; see \`metering check-config --help\``);
}

/** Hosts that only this machine reaches. */
export const LOOPBACK = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1|localhost)$/;

function crossChecks(config: Config): string[] {
  const problems: string[] = [];
  if (!LOOPBACK.test(config.host) && config.auth === "none" && !config.allowUnauthenticated) {
    problems.push(
      `METERING_HOST ${JSON.stringify(config.host)} would let whoever reaches this machine record and read any customer's usage, ` +
        "since callers are not authenticated: set METERING_AUTH=tokens, keep it on loopback, or set METERING_ALLOW_UNAUTHENTICATED=true where the network lets none but your own backends in",
    );
  }
  if ((config.tlsCertFile === undefined) !== (config.tlsKeyFile === undefined))
    problems.push("METERING_TLS_CERT and METERING_TLS_KEY go together");
  if (config.tlsClientCaFile !== undefined && config.tlsCertFile === undefined)
    problems.push("METERING_TLS_CLIENT_CA means nothing without METERING_TLS_CERT");
  const unguarded = config.mtlsPorts.filter((port) => !config.tlsPorts.includes(port));
  if (config.tlsClientCaFile !== undefined && unguarded.length > 0)
    problems.push(
      `METERING_MTLS_PORTS has ${unguarded.join(",")}, which METERING_TLS_PORTS has not: it would ask nobody for a certificate`,
    );
  if (config.leaseRenewMs * 3 >= config.leaseTtlMs)
    problems.push("METERING_LEASE_RENEW must be less than a third of METERING_LEASE_TTL");
  if (config.intakeMaxWaiting < config.intakeMaxBatch)
    problems.push("METERING_INTAKE_MAX_WAITING must be at least METERING_INTAKE_MAX_BATCH");
  if (config.intake === "postgres" && config.redisUrl !== undefined)
    problems.push("METERING_INTAKE=postgres contradicts REDIS_URL: unset one of them");
  if (config.redisWaitReplicas > 0 && config.intake === "postgres")
    problems.push("METERING_REDIS_WAIT_REPLICAS means nothing with METERING_INTAKE=postgres");
  return [...problems, ...stripeChecks(config), ...portClashes(config)];
}

function stripeChecks(config: Config): string[] {
  const { stripeSecretKey, stripeApiBase } = config;
  if (stripeSecretKey === undefined)
    return stripeApiBase === undefined ? [] : ["STRIPE_API_BASE is set without STRIPE_SECRET_KEY"];
  if (/^.k_live_/.test(stripeSecretKey) && stripeApiBase !== undefined && !isStripe(stripeApiBase))
    return [
      "STRIPE_SECRET_KEY is a live key and STRIPE_API_BASE is not Stripe: a live key must never reach a stand-in",
    ];
  if (stripeApiBase?.startsWith("http:") && isStripe(stripeApiBase))
    return ["STRIPE_API_BASE must be https for Stripe itself"];
  return [];
}

/** Whether calls go to a sandbox of Stripe's: a test key at Stripe itself. A stand-in, which a test key may also be for, is none. */
export function isSandbox({ stripeSecretKey, stripeApiBase }: Config): boolean {
  const isTestKey = stripeSecretKey !== undefined && /^.k_test_/.test(stripeSecretKey);
  return isTestKey && (stripeApiBase === undefined || isStripe(stripeApiBase));
}

/** Whether metering.admin.v1 is served: where callers are known, unless it is switched off; else only where it is switched on. */
export function servesAdminApi({ adminApi, auth }: Config): boolean {
  return adminApi ?? auth === "tokens";
}

/** Whether GRPC_PORT describes itself to strangers: where callers are known, only when it is switched on. */
export function servesReflection({ grpcReflection, auth }: Config): boolean {
  return grpcReflection ?? auth === "none";
}

/** Whether callers are trusted for being on this machine, and for nothing else. */
export function trustsLoopback({ host, auth, allowUnauthenticated }: Config): boolean {
  return auth === "none" && !allowUnauthenticated && LOOPBACK.test(host);
}

/** Whether strangers can reach OPS_PORT and read all of it, as far as these settings tell. */
export function leavesOpsOpen(config: Config): boolean {
  const { host, opsToken, tlsCertFile, tlsClientCaFile, tlsPorts, mtlsPorts } = config;
  const asksCertificate =
    tlsCertFile !== undefined && tlsClientCaFile !== undefined && tlsPorts.includes("ops") && mtlsPorts.includes("ops");
  return !LOOPBACK.test(host) && opsToken === undefined && !asksCertificate;
}

/** Whether calls go to a stand-in of Stripe: nobody is billed. */
export function isStandIn({ stripeApiBase }: Config): boolean {
  return stripeApiBase !== undefined && !isStripe(stripeApiBase);
}

function isStripe(base: string): boolean {
  return URL.canParse(base) && new URL(base).hostname === "api.stripe.com";
}

function portClashes(config: Config): string[] {
  const names = ["grpcPort", "httpPort", "webhookPort", "opsPort", "stripeSimulatorPort"] as const;
  const firstWith = new Map<number, string>();
  const problems: string[] = [];
  for (const name of names) {
    const { env } = SETTINGS[name];
    const other = firstWith.get(config[name]);
    if (config[name] === 0) continue;
    if (other === undefined) firstWith.set(config[name], env);
    else problems.push(`${env} and ${other} are both ${config[name]}`);
  }
  return problems;
}

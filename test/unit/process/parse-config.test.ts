import { describe, expect, test } from "vitest";
import {
  ConfigError,
  type Environment,
  parseConfig,
  type SettingName,
} from "../../../src/process/config/parse-config.ts";
import { SETTINGS } from "../../../src/process/config/settings.ts";

function problemsOf(environment: Environment, required: readonly SettingName[] = []): readonly string[] {
  try {
    parseConfig(environment, required);
    return [];
  } catch (cause) {
    if (cause instanceof ConfigError) return cause.problems;
    throw cause;
  }
}

describe("parseConfig", () => {
  test("an empty environment gives every default, frozen", () => {
    const config = parseConfig({});
    expect(config).toMatchObject({ grpcPort: 50_051, httpPort: 8080, webhookPort: 8081, opsPort: 9464 });
    expect(config).toMatchObject({ host: "127.0.0.1", shardCount: 16, flushIntervalMs: 60_000 });
    expect(config).toMatchObject({ duplicateWindowMs: 86_400_000, retentionMs: 40 * 86_400_000 });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.keys(config)).toEqual(Object.keys(SETTINGS));
  });

  test("an empty variable counts as unset", () => {
    expect(parseConfig({ GRPC_PORT: "", REDIS_URL: " " })).toMatchObject({ grpcPort: 50_051, redisUrl: undefined });
  });

  test("values are read with their units", () => {
    const config = parseConfig({
      GRPC_PORT: "0",
      METERING_FLUSH_INTERVAL: "500ms",
      METERING_RETENTION: "36d",
      STRIPE_SECRET_KEY: "rk_test_abc",
      STRIPE_WEBHOOK_SECRET: "whsec_a, whsec_b+/=",
      METERING_LOG_LEVEL: "debug",
    });
    expect(config).toMatchObject({ grpcPort: 0, flushIntervalMs: 500, retentionMs: 36 * 86_400_000 });
    expect(config).toMatchObject({ stripeWebhookSecrets: ["whsec_a", "whsec_b+/="], logLevel: "debug" });
  });

  test.each<[name: string, environment: Environment, problem: string]>([
    ["a port that is none", { GRPC_PORT: "x" }, 'GRPC_PORT must be a whole number, 0..65,535, not "x"'],
    ["a port too large", { OPS_PORT: "65536" }, "OPS_PORT must be a whole number"],
    ["a negative number", { METERING_SHARDS: "-1" }, "METERING_SHARDS must be a whole number, 1..1,024"],
    ["a duration without unit", { METERING_FLUSH_INTERVAL: "60" }, "METERING_FLUSH_INTERVAL must be a duration"],
    ["a duration out of range", { METERING_FLUSH_INTERVAL: "2h" }, "100ms..10m"],
    ["a duplicate window under a day", { METERING_DUPLICATE_WINDOW: "23h" }, "METERING_DUPLICATE_WINDOW must be"],
    ["a retention under 36 days", { METERING_RETENTION: "35d" }, "METERING_RETENTION must be"],
    ["a word that is none", { METERING_LOG_LEVEL: "loud" }, "must be one of trace, debug"],
    ["a boolean that is none", { METERING_ALLOW_UNAUTHENTICATED: "yes" }, "must be true or false"],
    ["a URL of another scheme", { DATABASE_URL: "mysql://db/x" }, "DATABASE_URL must be a URL, postgresql://"],
    ["no URL at all", { REDIS_URL: "localhost:6379" }, "REDIS_URL must be a URL, redis://"],
    ["a publishable key", { STRIPE_SECRET_KEY: "pk_test_1" }, "STRIPE_SECRET_KEY must be sk_test_"],
    [
      "a signing secret of another shape",
      { STRIPE_WEBHOOK_SECRET: "whsec_a,b" },
      "STRIPE_WEBHOOK_SECRET must be 1 to 10",
    ],
    ["a misspelled name", { METERING_SHARD: "8" }, "METERING_SHARD is not a setting"],
    ["a renewal that is too rare", { METERING_LEASE_RENEW: "2s" }, "METERING_LEASE_RENEW must be less than a third"],
    [
      "a queue shorter than a batch",
      { METERING_INTAKE_MAX_WAITING: "200" },
      "METERING_INTAKE_MAX_WAITING must be at least",
    ],
    ["the same port twice", { HTTP_PORT: "8081" }, "WEBHOOK_PORT and HTTP_PORT are both 8081"],
    ["a stand-in without a key", { STRIPE_API_BASE: "http://127.0.0.1:1" }, "without STRIPE_SECRET_KEY"],
    [
      "a live key at a stand-in",
      { STRIPE_API_BASE: "http://127.0.0.1:1", STRIPE_SECRET_KEY: "sk_live_1" },
      "a live key must never reach a stand-in",
    ],
    [
      "Stripe itself in clear text",
      { STRIPE_API_BASE: "http://api.stripe.com", STRIPE_SECRET_KEY: "sk_test_1" },
      "STRIPE_API_BASE must be https",
    ],
    [
      "mutual TLS of a port without TLS",
      { METERING_TLS_CERT: "c", METERING_TLS_KEY: "k", METERING_TLS_CLIENT_CA: "a", METERING_TLS_PORTS: "http,ops" },
      "METERING_MTLS_PORTS has grpc, which METERING_TLS_PORTS has not",
    ],
    [
      "a password in what is shown",
      { OTEL_EXPORTER_OTLP_ENDPOINT: "https://me:hunter2@collector" },
      "OTEL_EXPORTER_OTLP_ENDPOINT must hold no user name and no password",
    ],
    ["Postgres intake with a Redis", { METERING_INTAKE: "postgres", REDIS_URL: "redis://r" }, "contradicts REDIS_URL"],
  ])("refuses %s", (_, environment, problem) => {
    const problems = problemsOf(environment);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  test("two ports that are both free ones do not clash", () => {
    expect(problemsOf({ HTTP_PORT: "0", GRPC_PORT: "0" })).toEqual([]);
  });

  test("listening beyond loopback is refused, with the reason, unless it is wanted", () => {
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "metering.internal"]) {
      expect(problemsOf({ METERING_HOST: host })[0]).toContain("callers are not authenticated");
      expect(problemsOf({ METERING_HOST: host, METERING_ALLOW_UNAUTHENTICATED: "true" })).toEqual([]);
    }
    for (const host of ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
      expect(problemsOf({ METERING_HOST: host })).toEqual([]);
  });

  test("names every problem at once, and no secret", () => {
    const environment = {
      GRPC_PORT: "x",
      METERING_SHARDS: "0",
      STRIPE_SECRET_KEY: "hunter2",
      STRIPE_WEBHOOK_SECRET: "hunter2",
      REDIS_URL: "hunter2",
      METERING_HOST: "0.0.0.0",
      METERING_OPS_TOKEN: "hunter2",
      STRIPE_API_BASE: "https://me:hunter2@stripe.example",
      OTEL_EXPORTER_OTLP_ENDPOINT: "ftp://me:hunter2@collector",
      METERING_CORS_ORIGINS: "https://a.example,https://me:hunter2/@page.example",
    };
    const problems = problemsOf(environment, ["databaseUrl"]);
    const named = ["DATABASE_URL", ...Object.keys(environment)];
    expect(problems.map((problem) => problem.split(" ")[0]).sort()).toEqual(named.sort());
    expect(problems.join("\n")).not.toContain("hunter2");
  });
});

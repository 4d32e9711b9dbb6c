// Every setting of the service, declared once: parsing, `check-config`, the README's table and the tests all read this table.
import { ACCESS_SETTINGS } from "./access-settings.ts";
import {
  choice,
  duration,
  integer,
  optionalInteger,
  optionalText,
  optionalUrl,
  parseBoolean,
  port,
  type Setting,
  SettingProblem,
  text,
} from "./setting.ts";
import { TRACE_SETTINGS } from "./trace-settings.ts";

/** By the property that Config gives it. The order is that of the documentation. */
export const SETTINGS = {
  databaseUrl: optionalUrl({
    env: "DATABASE_URL",
    meaning: "PostgreSQL 15 or later: the ledger, the outbox, accounts.",
    defaultText: "`dev`: an embedded PostgreSQL 18; other commands: the running `dev` service's",
    schemes: ["postgresql:", "postgres:"],
    whenToChange: "always in production",
    secret: true,
  }),
  redisUrl: optionalUrl({
    env: "REDIS_URL",
    meaning:
      "Redis 6.2 or later, or Valkey: buffers records in front of Postgres. Needs `appendfsync always`, `noeviction`.",
    defaultText: "`dev`: one started from the PATH, if there; else records go straight to Postgres",
    schemes: ["redis:", "rediss:"],
    whenToChange: "when bursts outgrow Postgres, or records must be taken while Postgres is away",
    secret: true,
  }),
  intake: choice({
    env: "METERING_INTAKE",
    meaning: "Where records become durable first. `auto`: Redis where there is one, else Postgres.",
    fallback: "auto",
    words: ["auto", "redis", "postgres"],
    whenToChange: "to have `dev` use one of the two, or fail",
  }),
  stripeSecretKey: optionalText({
    env: "STRIPE_SECRET_KEY",
    meaning:
      "Stripe API key. A restricted key needs meters, meter events, customers, prices, subscriptions, invoices and events.",
    defaultText: "`dev`: a simulated Stripe; `serve`: needed for the roles flush and webhooks",
    range: "sk_test_..., sk_live_..., rk_test_... or rk_live_...",
    pattern: /^[sr]k_(test|live)_[A-Za-z0-9_]+$/,
    whenToChange: "always in production",
    secret: true,
  }),
  stripeWebhookSecrets: {
    env: "STRIPE_WEBHOOK_SECRET",
    meaning: "Signing secrets of the webhook endpoint, comma-separated: any of them may have signed.",
    fallback: [] as readonly string[],
    defaultText: "`dev` with a simulated Stripe: the simulator's; `serve`: needed for the role webhooks",
    range: "1..10 of whsec_...",
    whenToChange: "always in production; two while one is rolled",
    secret: true,
    parse: parseWebhookSecrets,
  } satisfies Setting<readonly string[]>,
  stripeThinWebhookSecrets: {
    env: "STRIPE_THIN_WEBHOOK_SECRET",
    meaning:
      "Signing secrets of the destination of thin events, comma-separated: they tell of meter events that Stripe took and threw away.",
    fallback: [] as readonly string[],
    defaultText: "`dev` with a simulated Stripe: the simulator's; else `/webhooks/stripe/thin` answers 404",
    range: "1..10 of whsec_...",
    whenToChange: "always in production; two while one is rolled",
    secret: true,
    parse: parseWebhookSecrets,
  } satisfies Setting<readonly string[]>,
  customerMetadataKey: {
    ...text({
      env: "METERING_CUSTOMER_METADATA_KEY",
      meaning: "Key in a Stripe customer's metadata that holds your own id of the customer: webhooks map by it.",
      fallback: "metering_customer_id",
      range: "1..40 characters, no square brackets",
      whenToChange: "when your Stripe customers carry your id under another key",
    }),
    parse: parseMetadataKey,
  } satisfies Setting<string>,
  stripeApiBase: optionalUrl({
    env: "STRIPE_API_BASE",
    meaning: "Where the Stripe API is. Refused together with a live key: real invoices must not depend on a stand-in.",
    defaultText: "Stripe's own",
    schemes: ["http:", "https:"],
    whenToChange: "to use a stand-in for Stripe, such as `metering stripe-simulator`",
    secret: false,
  }),
  stripeSink: choice({
    env: "STRIPE_SINK",
    meaning:
      "Which way usage goes to Stripe. `v1`: one meter event a request, checked at once. `stream`: 100 a request, checked by Stripe later.",
    fallback: "v1",
    words: ["v1", "stream"],
    whenToChange: "`stream` for more than 1,000 reports a second; what was sent one way and is open waits for that way",
  }),
  stripeConcurrency: integer({
    env: "STRIPE_CONCURRENCY",
    meaning:
      "Most requests to Stripe at a time. Through `v1` a customer's events of one meter always go one after the other.",
    fallback: 16,
    min: 1,
    max: 500,
    whenToChange: "up when reports wait while Stripe answers fast; down when Stripe answers 429",
  }),
  stripeEventsPerSecond: optionalInteger({
    env: "STRIPE_EVENTS_PER_SECOND",
    meaning: "Most meter events sent to Stripe in a second. Slows down by itself while Stripe throttles.",
    defaultText:
      "Stripe's limits: `v1` 1000, `stream` 10000; with a test key at Stripe itself 25 requests, so 25 and 2500",
    min: 1,
    max: 200_000,
    whenToChange: "down when other programs use the same Stripe account; up when Stripe granted you more",
  }),
  grpcPort: port({
    env: "GRPC_PORT",
    meaning: "gRPC, for backends.",
    fallback: 50_051,
    whenToChange: "when taken",
  }),
  httpPort: port({
    env: "HTTP_PORT",
    meaning: "Connect and gRPC-Web, for browsers and curl.",
    fallback: 8080,
    whenToChange: "when taken",
  }),
  webhookPort: port({
    env: "WEBHOOK_PORT",
    meaning: "`POST /webhooks/stripe` and `/webhooks/stripe/thin`.",
    fallback: 8081,
    whenToChange: "when taken",
  }),
  opsPort: port({
    env: "OPS_PORT",
    meaning: "`/livez`, `/readyz`, `/metrics`.",
    fallback: 9464,
    whenToChange: "when taken",
  }),
  stripeSimulatorPort: port({
    env: "STRIPE_SIMULATOR_PORT",
    meaning: "The simulated Stripe of `dev` and `stripe-simulator`.",
    fallback: 12_111,
    whenToChange: "when taken",
  }),
  host: text({
    env: "METERING_HOST",
    meaning: "Address that every port listens on.",
    fallback: "127.0.0.1",
    range:
      "an IP address or host name; beyond loopback only with METERING_AUTH=tokens or METERING_ALLOW_UNAUTHENTICATED",
    whenToChange: "to be reached from other machines",
  }),
  ...ACCESS_SETTINGS,
  allowUnauthenticated: {
    ...choice({
      env: "METERING_ALLOW_UNAUTHENTICATED",
      meaning: "`true`: listen beyond loopback although METERING_AUTH is none.",
      fallback: "false",
      words: ["false", "true"],
      whenToChange: "only where the network lets none but your own backends in",
    }),
    fallback: false,
    parse: parseBoolean,
  } satisfies Setting<boolean>,
  adminApi: {
    ...choice({
      env: "METERING_ADMIN_API",
      meaning:
        "`true`: serve `metering.admin.v1` on GRPC_PORT and HTTP_PORT. With METERING_AUTH=none whoever reaches them can void records by it. `metering dev` serves it unless this is `false`.",
      fallback: "false",
      words: ["false", "true"],
      whenToChange: "to keep it off the ports; the commands need no API",
    }),
    fallback: undefined,
    defaultText: "`true` with METERING_AUTH=tokens, where it asks for the scope admin; else `false`",
    parse: parseBoolean,
  } satisfies Setting<boolean | undefined>,
  catalogFile: text({
    env: "METERING_CONFIG",
    meaning: "Meters, and how they map to Stripe meters.",
    fallback: "./metering.config.json",
    range: "a path",
    whenToChange: "when the file is elsewhere",
  }),
  dataDir: text({
    env: "METERING_DATA_DIR",
    meaning: "What `dev` keeps: embedded stores, simulator, logs, and how other commands find the running service.",
    fallback: ".metering",
    range: "a path",
    whenToChange: "to keep several apart, or to start afresh",
  }),
  shardCount: integer({
    env: "METERING_SHARDS",
    meaning:
      "Streams that customers are spread over. Fixed at the first start; a start with another number is refused.",
    fallback: 16,
    min: 1,
    max: 1024,
    whenToChange: "before the first start, for a Redis Cluster or more than 16 drain workers",
  }),
  flushIntervalMs: duration({
    env: "METERING_FLUSH_INTERVAL",
    meaning: "How often closed minutes are reported to Stripe.",
    fallback: "60s",
    min: "100ms",
    // Stragglers of a billing period must be sent while its invoice is a draft, which is an hour.
    max: "10m",
    whenToChange: "up for fewer Stripe requests, down for fresher totals at Stripe",
  }),
  lateUsage: choice({
    env: "METERING_LATE_USAGE",
    meaning:
      "What becomes of usage whose invoice is final, or that is too old for Stripe: billed in the period that is open then, or held. Listed either way.",
    fallback: "current_period",
    words: ["current_period", "hold"],
    whenToChange: "`hold` where a person decides about every late quantity",
  }),
  reconcileIntervalMs: duration({
    env: "METERING_RECONCILE_INTERVAL",
    meaning: "How often the hours that are over are compared with what Stripe counted.",
    fallback: "5m",
    min: "1s",
    max: "1h",
    whenToChange: "up when other programs need the account's read requests",
  }),
  reconcileLagMs: duration({
    env: "METERING_RECONCILE_LAG",
    meaning:
      "How long Stripe is given to add up what it took; a difference is repaired if it is still there as long again later.",
    fallback: "10m",
    min: "1s",
    max: "24h",
    // Two lags and some must fit into the hour in which an invoice is a draft.
    whenToChange:
      "up when drifts are found that are gone at the next look; above 20m, repairs may come after an invoice is final",
  }),
  repairLimit: integer({
    env: "METERING_REPAIR_LIMIT",
    meaning:
      "Largest difference, in units of a minute's sum, that is repaired without `metering stripe reconcile --apply`. 0: none.",
    fallback: 1_000_000,
    min: 0,
    max: 999_999_999_999_999,
    whenToChange: "to what one may be wrong about without a person looking",
  }),
  duplicateWindowMs: duration({
    env: "METERING_DUPLICATE_WINDOW",
    meaning:
      "For how long a key used for another record is refused at once. Equal repeats are told for 35 days in any case.",
    fallback: "24h",
    min: "24h",
    max: "35d",
    whenToChange: "up when callers retry for longer; each remembered key costs Redis memory",
  }),
  retentionMs: duration({
    env: "METERING_RETENTION",
    meaning:
      "For how long raw records are kept. At least 36 days, since they tell repeats for as long as a time is accepted.",
    fallback: "40d",
    min: "36d",
    max: "3650d",
    whenToChange: "up to answer questions about older usage record by record",
  }),
  reportRetentionMs: duration({
    env: "METERING_REPORT_RETENTION",
    meaning:
      "For how long reports to Stripe and their windows are kept, once they were reconciled, their invoice was closed and raw records are gone.",
    fallback: "400d",
    min: "400d",
    max: "3650d",
    whenToChange:
      "up to reconcile, or show what was reported, further back; to the length and 35 days where a billing period is longer than a year",
  }),
  paymentGraceMs: duration({
    env: "METERING_PAYMENT_GRACE",
    meaning: "How long after a failed payment a customer stays entitled.",
    fallback: "3d",
    min: "0s",
    max: "60d",
    whenToChange: "to match your dunning",
  }),
  redisWaitReplicas: integer({
    env: "METERING_REDIS_WAIT_REPLICAS",
    meaning: "Redis replicas that must have a record before it is answered.",
    fallback: 0,
    min: 0,
    max: 10,
    whenToChange: "when Redis fails over to a replica: 1 or more, else a failover may lose answered records",
  }),
  intakeMaxBatch: integer({
    env: "METERING_INTAKE_MAX_BATCH",
    meaning: "Most records in one commit of a shard.",
    fallback: 1000,
    min: 1,
    max: 5_000,
    whenToChange: "down when single commits take long",
  }),
  intakeMaxWaiting: integer({
    env: "METERING_INTAKE_MAX_WAITING",
    meaning: "Most records of a shard that wait in memory for a commit; past it callers get RESOURCE_EXHAUSTED.",
    fallback: 20_000,
    min: 100,
    max: 1_000_000,
    whenToChange: "up to ride out longer pauses of the store, at the cost of memory",
  }),
  streamMaxEntries: integer({
    env: "METERING_STREAM_MAX_ENTRIES",
    meaning: "Most commits of a shard that wait in Redis for Postgres; past it callers get RESOURCE_EXHAUSTED.",
    fallback: 100_000,
    min: 100,
    max: 100_000_000,
    whenToChange: "to fit Redis memory: about 400 bytes a record, one record or more a commit",
  }),
  maxStreams: integer({
    env: "METERING_MAX_STREAMS",
    meaning: "Most StreamUsage calls open at a time on one port of one process.",
    fallback: 10_000,
    min: 0,
    max: 100_000,
    whenToChange: "to fit the process's memory",
  }),
  databasePoolSize: integer({
    env: "METERING_DATABASE_POOL",
    meaning: "Most connections of one process to Postgres.",
    fallback: 20,
    min: 4,
    max: 500,
    whenToChange: "up for more concurrent reads, within Postgres' max_connections over all processes",
  }),
  statementTimeoutMs: duration({
    env: "METERING_STATEMENT_TIMEOUT",
    meaning: "Postgres cancels a statement that runs longer.",
    fallback: "30s",
    min: "1s",
    max: "10m",
    whenToChange: "rarely",
  }),
  leaseTtlMs: duration({
    env: "METERING_LEASE_TTL",
    meaning: "How long the flush leader's lease holds without renewal: the longest wait until another takes over.",
    fallback: "6s",
    min: "1s",
    max: "60s",
    whenToChange: "up where Postgres answers slowly",
  }),
  leaseRenewMs: duration({
    env: "METERING_LEASE_RENEW",
    meaning: "How often the leader renews. Less than a third of METERING_LEASE_TTL, so that two renewals may fail.",
    fallback: "1500ms",
    min: "100ms",
    max: "20s",
    whenToChange: "with METERING_LEASE_TTL",
  }),
  shutdownGraceMs: duration({
    env: "METERING_SHUTDOWN_GRACE",
    meaning: "Time for a clean end after SIGTERM or SIGINT; after it the process exits with 1, naming what hung.",
    fallback: "20s",
    min: "1s",
    max: "10m",
    whenToChange: "to stay under your platform's kill timeout",
  }),
  logLevel: choice({
    env: "METERING_LOG_LEVEL",
    meaning: "Least severe log lines to write.",
    fallback: "info",
    words: ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
    whenToChange: "while looking into something",
  }),
  ...TRACE_SETTINGS,
};

function parseWebhookSecrets(value: string): readonly string[] {
  const secrets = value.split(",").map((secret) => secret.trim());
  if (secrets.length <= 10 && secrets.every((secret) => /^whsec_[A-Za-z0-9+/=_-]+$/.test(secret))) return secrets;
  throw new SettingProblem("must be 1 to 10 signing secrets, whsec_..., separated by commas");
}

function parseMetadataKey(value: string): string {
  // What Stripe takes for a key.
  if (/^[^[\]]{1,40}$/u.test(value)) return value;
  throw new SettingProblem("must have 1..40 characters and no square brackets");
}

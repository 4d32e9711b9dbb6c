// `metering stripe setup` as its users run it, and usage that goes to the meters that it made.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { type CommandResult, runCommand } from "../../support/command.ts";
import { startService } from "../../support/service.ts";

const STRIPE = {
  product: { name: "Tokens" },
  prices: [{ eventName: "tokens", currency: "usd", unitAmountDecimal: "0.0003", interval: "month" }],
  webhook: {
    url: "https://metering.example/webhooks/stripe",
    thinUrl: "https://metering.example/webhooks/stripe/thin",
  },
};

function configFile(stripe: unknown = STRIPE): string {
  const dir = mkdtempSync(join(tmpdir(), "metering-setup-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "metering.config.json");
  const meters = [{ name: "tokens", unit: "token" }];
  writeFileSync(file, JSON.stringify({ meters, billing: [{ meter: "tokens", eventName: "tokens" }], stripe }));
  return file;
}

async function startAccount() {
  const simulator = await startStripeSimulator({ seed: "setup" });
  onTestFinished(() => simulator.close());
  return simulator;
}

function setUp(environment: Record<string, string>, ...args: string[]): Promise<CommandResult> {
  return runCommand(["stripe", "setup", ...args], { METERING_DATA_DIR: join(tmpdir(), "none"), ...environment });
}

describe("metering stripe setup", () => {
  test("prints a table, tells where the secrets go once, and exits with 0; so does the next run", {
    timeout: 60_000,
  }, async () => {
    const { url } = await startAccount();
    const environment = { STRIPE_SECRET_KEY: "sk_test_x", STRIPE_API_BASE: url, METERING_CONFIG: configFile() };
    const dry = await setUp(environment, "--dry-run");
    expect({ exitCode: dry.exitCode, stderr: dry.stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(dry.stdout).toMatch(
      /^Stripe at http:.*, test mode: nothing is changed\n\nWHAT +NAME +ID +STATE\nmeter +tokens +- +would create\n/,
    );
    expect(dry.stdout).toMatch(
      /a meter's event name, aggregation, customer mapping, value key and event time window cannot be changed/,
    );
    const first = await setUp(environment);
    expect({ exitCode: first.exitCode, stderr: first.stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(first.stdout).toMatch(/\nprice +metering_tokens_usd_month +price_\w+ +created: 0\.0003 usd by the month\n/);
    expect(first.stdout).toMatch(/secret of we_\w+ goes into STRIPE_WEBHOOK_SECRET;.*\nwhsec_\w+\n/);
    expect(first.stdout).toMatch(/secret of ed_\w+ goes into STRIPE_THIN_WEBHOOK_SECRET;.*\nwhsec_\w+\n/);
    const { exitCode, stdout } = await setUp(environment, "--json");
    expect(exitCode).toBe(0);
    const { items, ...result } = JSON.parse(stdout);
    expect(result).toEqual({ ok: true, mode: "test", apiBase: url, dryRun: false });
    expect(items).toHaveLength(5);
    for (const item of items) expect(item).toMatchObject({ state: "found", id: expect.stringMatching(/./), note: "" });
    expect(stdout).not.toContain("whsec_");
  });

  test("--help says what it does, needs and answers with, and gives an example", async () => {
    const { exitCode, stdout } = await setUp({}, "--help");
    expect(exitCode).toBe(0);
    for (const part of ["--dry-run", "--json", "Settings:", "Exit codes:", "Example:"]) expect(stdout).toContain(part);
  });

  test("exits with 1 where something needs a person", async () => {
    const { url } = await startAccount();
    const environment = { STRIPE_SECRET_KEY: "sk_test_x", STRIPE_API_BASE: url };
    await setUp({ ...environment, METERING_CONFIG: configFile() });
    const dearer = { ...STRIPE, prices: [{ ...STRIPE.prices[0], unitAmountDecimal: "0.0004" }] };
    const { exitCode, stdout, stderr } = await setUp({ ...environment, METERING_CONFIG: configFile(dearer) });
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: "" });
    expect(stdout).toMatch(/CANNOT change: its amount is 0\.0003, not 0\.0004; a price cannot be changed/);
    expect(stdout).toMatch(/\n1 of 5 need a person: see CANNOT above\.\n$/);
  });

  test("shows what was made, its secret too, before Stripe stopped going along", async () => {
    const simulator = await startAccount();
    simulator.addFault({ route: "POST /v2/core/event_destinations", kind: "forbidden" });
    const environment = {
      STRIPE_SECRET_KEY: "rk_test_x",
      STRIPE_API_BASE: simulator.url,
      METERING_CONFIG: configFile(),
    };
    const { exitCode, stdout, stderr } = await setUp(environment);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/STRIPE_WEBHOOK_SECRET;.*\nwhsec_\w+\n/);
    expect(stderr).toMatch(
      /^metering: the event destination: the restricted key in STRIPE_SECRET_KEY may not do this: .*\n$/,
    );
    const again = JSON.parse((await setUp(environment, "--json")).stdout);
    expect(again).toMatchObject({ ok: false, error: expect.stringContaining("the restricted key") });
    expect(again.items).toHaveLength(4);
  });

  test.each([
    ["no key", {}, [], /STRIPE_SECRET_KEY is not set, and no "metering dev" is up/],
    ["a live key without --live", { STRIPE_SECRET_KEY: "sk_live_x" }, [], /is a live key: add --live/],
    ["--live with a test key", { STRIPE_SECRET_KEY: "rk_test_x" }, ["--live"], /STRIPE_SECRET_KEY is a test key/],
    [
      "a live key and a stand-in",
      { STRIPE_SECRET_KEY: "sk_live_x", STRIPE_API_BASE: "http://127.0.0.1:1" },
      ["--live"],
      /must never reach a stand-in/,
    ],
  ])("%s: exit code 2, before anything is sent", async (_, environment: Record<string, string>, args, message) => {
    const { exitCode, stdout, stderr } = await setUp({ METERING_CONFIG: configFile(), ...environment }, ...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toMatch(message);
  });

  test("a live key and a URL that is not https: exit code 2", async () => {
    const file = configFile({ ...STRIPE, webhook: { url: "http://metering.example/webhooks/stripe" } });
    const { exitCode, stderr } = await setUp({ METERING_CONFIG: file, STRIPE_SECRET_KEY: "rk_live_x" }, "--live");
    expect(exitCode).toBe(2);
    expect(stderr).toContain("must be https");
  });
});

test("usage goes to the meters that setup made, in the shape of Stripe's token billing", {
  timeout: 120_000,
}, async () => {
  const METERING_CONFIG = "examples/token-billing.config.json";
  const { service, close } = await startService({ intake: "postgres", environment: { METERING_CONFIG } });
  onTestFinished(close);
  expect((await setUp({ ...service.environment })).exitCode).toBe(0);
  const stripe = `${service.simulator.url}/v1/customers`;
  const created = await fetch(stripe, { method: "POST", headers: { authorization: "Bearer sk_test_x" } });
  const { id: customerId } = (await created.json()) as { id: string };
  const record = (idempotencyKey: string, model: string, measurements: Record<string, string>) => ({
    idempotencyKey,
    customerId,
    model,
    measurements: Object.entries(measurements).map(([meter, quantity]) => ({ meter, quantity })),
  });
  const records = [
    record("a", "anthropic/claude-sonnet-4-5-20250929", {
      input_tokens: "100",
      output_tokens: "7",
      reasoning_tokens: "3",
    }),
    record("b", "openai/gpt-5", { input_tokens: "11", cached_input_tokens: "5" }),
    record("c", "", { input_tokens: "2" }),
  ];
  for (const one of records) {
    const answer = await fetch(`${service.api.httpUrl}/metering.v1.MeteringService/RecordUsage`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ record: one }),
    });
    expect(answer.status).toBe(200);
  }
  expect(await runCommand(["flush"], service.environment)).toMatchObject({ exitCode: 0 });
  const seen = await fetch(`${service.simulator.url}/_simulator/meter_events?event_name=token-billing-tokens`);
  const { data } = (await seen.json()) as { data: { payload: Record<string, string>; fate: string }[] };
  // Records of two minutes make two events of one kind.
  const sums = new Map<string, number>();
  for (const { payload, fate } of data) {
    const { stripe_customer_id, value, ...extra } = payload;
    expect({ stripe_customer_id, fate }).toEqual({ stripe_customer_id: customerId, fate: "counted" });
    const kind = JSON.stringify(Object.entries(extra).sort());
    sums.set(kind, (sums.get(kind) ?? 0) + Number(value));
  }
  const kind = (token_type: string, model?: string) =>
    JSON.stringify([...(model === undefined ? [] : [["model", model]]), ["token_type", token_type]]);
  expect(sums).toEqual(
    new Map([
      [kind("input", "anthropic/claude-sonnet-4.5"), 100],
      [kind("output", "anthropic/claude-sonnet-4.5"), 10],
      [kind("input", "openai/gpt-5"), 11],
      [kind("cached_input", "openai/gpt-5"), 5],
      [kind("input"), 2],
    ]),
  );
});

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { billableQuantities } from "../../../src/domain/meter.ts";
import {
  meterCatalogJsonSchema,
  parseMeterCatalog,
  readMeterCatalog,
} from "../../../src/process/config/meter-catalog.ts";
import { ConfigError } from "../../../src/process/config/parse-config.ts";

const root = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));
const TOKENS = { name: "tokens", unit: "token" };

function problemsOf(text: string): readonly string[] {
  try {
    parseMeterCatalog(text, "f");
    return [];
  } catch (cause) {
    if (cause instanceof ConfigError) return cause.problems;
    throw cause;
  }
}

describe("the meter catalog", () => {
  test("the checked-in file is sound, and names its schema", () => {
    const catalog = readMeterCatalog(root("metering.config.json"));
    expect([...catalog.meters.keys()]).toContain("input_tokens");
    expect(JSON.parse(readFileSync(root("metering.config.json"), "utf8"))).toMatchObject({
      $schema: "./metering.config.schema.json",
    });
  });

  test("the published schema is the one that is checked (metering check-config --schema)", () => {
    const published: unknown = JSON.parse(readFileSync(root("metering.config.schema.json"), "utf8"));
    expect(published).toEqual(JSON.parse(meterCatalogJsonSchema()));
  });

  test("fills in pattern, weight and labels; weights are bigint", () => {
    const catalog = parseMeterCatalog(
      JSON.stringify({ meters: [TOKENS], billing: [{ meter: "tokens", eventName: "llm" }] }),
      "f",
    );
    expect(catalog.meters).toEqual(new Map([["tokens", TOKENS]]));
    expect(catalog.billing).toEqual([{ meter: "tokens", modelPattern: "*", eventName: "llm", weight: 1n }]);
    expect(catalog.rollupLabels).toEqual([]);
  });

  test("reads a payload; what does not fit it stays as it is", () => {
    const payload = { model: "{model}", token_type: "input", note: "{model} in part", long: "x".repeat(100) };
    const billing = [{ meter: "tokens", eventName: "llm", payload, modelPattern: "x".repeat(100) }];
    const catalog = parseMeterCatalog(JSON.stringify({ meters: [TOKENS], billing }), "f");
    expect(catalog.billing[0]?.payload).toEqual(new Map(Object.entries(payload)));
  });

  test("the example for Stripe's token billing gives the events that it expects", () => {
    const catalog = readMeterCatalog(root("examples/token-billing.config.json"));
    const measured = { input_tokens: 10n, output_tokens: 3n, reasoning_tokens: 4n, cached_input_tokens: 2n };
    const measurements = Object.entries(measured).map(([meter, quantity]) => ({ meter, quantity }));
    const events = billableQuantities({ model: "anthropic/claude-sonnet-4-5-20250929", measurements }, catalog);
    const model = "anthropic/claude-sonnet-4.5";
    expect(events.map(({ payload, ...event }) => ({ ...event, payload: JSON.parse(payload) }))).toEqual([
      { eventName: "token-billing-tokens", payload: { model, token_type: "cached_input" }, quantity: 2n },
      { eventName: "token-billing-tokens", payload: { model, token_type: "input" }, quantity: 10n },
      { eventName: "token-billing-tokens", payload: { model, token_type: "output" }, quantity: 7n },
    ]);
  });

  test("the service's own meter can be billed", () => {
    expect(problemsOf(JSON.stringify({ meters: [TOKENS], billing: [{ meter: "requests", eventName: "r" }] }))).toEqual(
      [],
    );
  });

  const meters = [TOKENS];
  const rule = { meter: "tokens", eventName: "e" };
  test.each<[what: string, catalog: unknown, problem: string]>([
    ["no meters", { meters: [], billing: [] }, "f: meters: "],
    [
      "a meter's name",
      { meters: [{ name: "Tokens", unit: "token" }], billing: [] },
      "f: meters[0].name: must be 1 to 64",
    ],
    [
      "a reserved name",
      { meters: [{ name: "requests", unit: "other" }], billing: [] },
      '"requests" is counted by the service',
    ],
    ["a unit", { meters: [{ name: "a", unit: "word" }], billing: [] }, "f: meters[0].unit: "],
    ["a meter twice", { meters: [TOKENS, TOKENS], billing: [] }, 'f: meters[1].name: "tokens" is there twice'],
    ["an unknown meter", { meters, billing: [{ meter: "words", eventName: "e" }] }, '"words" is not among the meters'],
    ["an event name", { meters, billing: [{ ...rule, eventName: "e".repeat(101) }] }, "f: billing[0].eventName: "],
    ["a weight of 0", { meters, billing: [{ ...rule, weight: 0 }] }, "f: billing[0].weight: "],
    ["a weight in parts", { meters, billing: [{ ...rule, weight: 1.5 }] }, "f: billing[0].weight: "],
    ["a weight too large", { meters, billing: [{ ...rule, weight: 1_000_001 }] }, "f: billing[0].weight: "],
    [
      "a rule twice",
      { meters, billing: [rule, { ...rule, modelPattern: "*" }] },
      "f: billing[1]: repeats an earlier rule",
    ],
    [
      "a payload key in capitals",
      { meters, billing: [{ ...rule, payload: { Model: "x" } }] },
      "f: billing[0].payload.Model: keys must be",
    ],
    [
      "a payload key that is the service's own",
      { meters, billing: [{ ...rule, payload: { value: "x" } }] },
      "f: billing[0].payload.value: stripe_customer_id and value are",
    ],
    ["an empty payload value", { meters, billing: [{ ...rule, payload: { a: "" } }] }, "f: billing[0].payload.a: "],
    [
      "a payload value that is too long",
      { meters, billing: [{ ...rule, payload: { a: "x".repeat(101) } }] },
      "f: billing[0].payload.a: ",
    ],
    [
      "a payload value that is no text",
      { meters, billing: [{ ...rule, payload: { a: 1 } }] },
      "f: billing[0].payload.a: ",
    ],
    [
      "eleven payload keys",
      { meters, billing: [{ ...rule, payload: Object.fromEntries([..."abcdefghijk"].map((key) => [key, "x"])) }] },
      "f: billing[0].payload: at most 10 keys",
    ],
    [
      "models too long for a payload",
      { meters, billing: [{ ...rule, modelPattern: `${"x".repeat(101)}*`, payload: { a: "{model}" } }] },
      "f: billing[0].payload.a: the models of the rule have more than 100 characters",
    ],
    [
      "a rule twice but for its payload",
      { meters, billing: [rule, { ...rule, payload: { a: "x" } }] },
      "f: billing[1]: repeats an earlier rule",
    ],
    ["a label key", { meters, billing: [], rollupLabels: ["Team"] }, "f: rollupLabels[0]: "],
    ["a label twice", { meters, billing: [], rollupLabels: ["a", "a"] }, 'f: rollupLabels[1]: "a" is there twice'],
    ["a key that is none", { meters, billing: [], extra: 1 }, 'Unrecognized key: "extra"'],
  ])("refuses %s", (_, catalog, problem) => {
    const problems = problemsOf(JSON.stringify(catalog));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  test("names every problem at once", () => {
    const catalog = {
      meters: [TOKENS, { ...TOKENS, unit: "word" }],
      billing: [{ meter: "words", eventName: "" }],
      extra: 1,
    };
    const problems = problemsOf(JSON.stringify(catalog)).join("\n");
    for (const part of ["meters[1].unit", "meters[1].name", "billing[0].eventName", "billing[0].meter", "extra"])
      expect(problems).toContain(part);
  });

  test("says what is wrong with a file that is no JSON, or is not there", () => {
    expect(problemsOf("{")[0]).toContain("f is not JSON");
    expect(() => readMeterCatalog("/nonexistent/metering.json")).toThrow(/cannot be read/);
  });
});

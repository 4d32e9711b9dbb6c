import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { billableQuantities, type MeterCatalog, matchesModel, stripeModel } from "../../../src/domain/meter.ts";
import { usageRecord } from "../../support/records.ts";
import { seeded } from "../../support/seed.ts";

describe("matchesModel", () => {
  test.each([
    ["*", "", true],
    ["*", "openai/gpt-5", true],
    ["openai/*", "openai/gpt-5", true],
    ["openai/*", "azure/openai/gpt-5", false],
    ["*-mini", "openai/gpt-5-mini", true],
    ["*-mini", "openai/gpt-5-mini-2", false],
    ["a*b*c", "aXbYc", true],
    ["a*b*c", "abc", true],
    ["a*b*c", "acb", false],
    ["ab*ba", "aba", false],
    ["gpt-5", "gpt-5", true],
    ["gpt.5", "gpt-5", false],
    ["", "", true],
    ["", "x", false],
  ])("%j matches %j: %s", (pattern, model, expected) => {
    expect(matchesModel(pattern, model)).toBe(expected);
  });

  test("agrees with a regular expression", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 6 });
    const pattern = fc.string({ unit: fc.constantFrom("a", "b", ".", "*"), maxLength: 6 });
    fc.assert(
      fc.property(pattern, text, (p, t) => {
        const regExp = new RegExp(`^${p.replaceAll(".", "\\.").replaceAll("*", ".*")}$`, "s");
        expect(matchesModel(p, t)).toBe(regExp.test(t));
      }),
      seeded(2000),
    );
  });
});

test("a measurement feeds every rule that matches, weighted; zeros and unmatched models feed none", () => {
  const catalog: MeterCatalog = {
    meters: new Map(),
    rollupLabels: [],
    billing: [
      { meter: "input_tokens", modelPattern: "*", eventName: "all", weight: 1n },
      { meter: "output_tokens", modelPattern: "*", eventName: "all", weight: 4n },
      { meter: "input_tokens", modelPattern: "openai/*", eventName: "openai_input", weight: 1n },
      { meter: "input_tokens", modelPattern: "google/*", eventName: "google_input", weight: 1n },
      { meter: "cached_input_tokens", modelPattern: "*", eventName: "cached", weight: 1n },
      { meter: "requests", modelPattern: "*", eventName: "calls", weight: 1n },
    ],
  };
  const measurements = { input_tokens: 10n, output_tokens: 3n, cached_input_tokens: 0n };
  expect(billableQuantities(usageRecord({ measurements }), catalog)).toEqual([
    { eventName: "all", payload: "{}", quantity: 22n },
    { eventName: "calls", payload: "{}", quantity: 1n },
    { eventName: "openai_input", payload: "{}", quantity: 10n },
  ]);
});

test("quantities of one event name are kept apart by their payload: Stripe's token billing", () => {
  const rule = { modelPattern: "*", eventName: "token-billing-tokens", weight: 1n };
  const payload = (type: string) =>
    new Map([
      ["token_type", type],
      ["model", "{stripe_model}"],
    ]);
  const catalog: MeterCatalog = {
    meters: new Map(),
    rollupLabels: [],
    billing: [
      { ...rule, meter: "input_tokens", payload: payload("input") },
      { ...rule, meter: "output_tokens", payload: payload("output") },
      { ...rule, meter: "cached_input_tokens", payload: payload("input") },
    ],
  };
  const measurements = { input_tokens: 10n, output_tokens: 3n, cached_input_tokens: 5n };
  const record = usageRecord({ model: "anthropic/claude-sonnet-4-5-20250929", measurements });
  const model = "anthropic/claude-sonnet-4.5";
  expect(billableQuantities(record, catalog)).toEqual([
    { eventName: rule.eventName, payload: `{"model":"${model}","token_type":"input"}`, quantity: 15n },
    { eventName: rule.eventName, payload: `{"model":"${model}","token_type":"output"}`, quantity: 3n },
  ]);
});

test("a record without a model leaves a payload key that stands for it out", () => {
  const payload = new Map([
    ["model", "{model}"],
    ["name", "{stripe_model}"],
    ["token_type", "input"],
  ]);
  const rule = { meter: "input_tokens", modelPattern: "*", eventName: "e", weight: 1n, payload };
  const catalog: MeterCatalog = { meters: new Map(), rollupLabels: [], billing: [rule] };
  const payloadOf = (model: string) => billableQuantities(usageRecord({ model }), catalog)[0]?.payload;
  expect(payloadOf("")).toBe('{"token_type":"input"}');
  expect(payloadOf("m-1")).toBe('{"model":"m-1","name":"m-1","token_type":"input"}');
});

test.each([
  ["anthropic/claude-3-7-sonnet-latest", "anthropic/claude-3.7-sonnet"],
  ["anthropic/claude-opus-4-20250514", "anthropic/claude-opus-4"],
  ["openai/gpt-4o-2024-08-06", "openai/gpt-4o"],
  ["openai/gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13"],
  ["google/gemini-2.5-pro", "google/gemini-2.5-pro"],
  ["", ""],
])("Stripe knows %s as %s", (model, name) => {
  expect(stripeModel(model)).toBe(name);
});

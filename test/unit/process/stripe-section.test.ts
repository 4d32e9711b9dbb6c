import { describe, expect, test } from "vitest";
import { parseMeterCatalog, parseStripeSetup } from "../../../src/process/config/meter-catalog.ts";
import { ConfigError } from "../../../src/process/config/parse-config.ts";

const BILLED = {
  meters: [{ name: "tokens", unit: "token" }],
  billing: [{ meter: "tokens", eventName: "llm_tokens" }],
};
const PRICE = { eventName: "llm_tokens", currency: "usd", unitAmountDecimal: "0.0003", interval: "month" };
const PRODUCT = { name: "Tokens" };
const WEBHOOK = { url: "https://metering.example/webhooks/stripe" };

function fileWith(stripe: unknown): string {
  return JSON.stringify({ ...BILLED, stripe });
}

function problemsOf(stripe: unknown): readonly string[] {
  try {
    parseStripeSetup(fileWith(stripe), "f");
    return [];
  } catch (cause) {
    if (cause instanceof ConfigError) return cause.problems;
    throw cause;
  }
}

describe("the stripe section", () => {
  test("may be missing, whole or in part", () => {
    const nothing = { product: undefined, prices: [], webhookUrl: undefined, thinWebhookUrl: undefined };
    expect(parseStripeSetup(JSON.stringify(BILLED), "f")).toEqual(nothing);
    expect(parseStripeSetup(fileWith({}), "f")).toEqual(nothing);
    expect(parseStripeSetup(fileWith({ webhook: WEBHOOK }), "f")).toEqual({ ...nothing, webhookUrl: WEBHOOK.url });
  });

  test("fills in the product's id and the lookup key; amounts are as Stripe writes them", () => {
    const prices = [
      { ...PRICE, unitAmountDecimal: "007.500" },
      { ...PRICE, unitAmountDecimal: "0.000", currency: "eur", lookupKey: "tokens-eur" },
      { ...PRICE, unitAmountDecimal: "12345678.123456789012", interval: "year" },
    ];
    expect(parseStripeSetup(fileWith({ product: PRODUCT, prices }), "f")).toMatchObject({
      product: { id: "metering", name: "Tokens" },
      prices: [
        { unitAmountDecimal: "7.5", lookupKey: "metering_llm_tokens_usd_month" },
        { unitAmountDecimal: "0", lookupKey: "tokens-eur" },
        { unitAmountDecimal: "12345678.123456789012", lookupKey: "metering_llm_tokens_usd_year" },
      ],
    });
  });

  test("is no part of the meter catalog", () => {
    const text = fileWith({ product: PRODUCT, prices: [PRICE], webhook: WEBHOOK });
    expect(parseMeterCatalog(text, "f")).toEqual(parseMeterCatalog(JSON.stringify(BILLED), "f"));
  });

  test.each<[what: string, stripe: unknown, problem: string]>([
    [
      "a price of what billing does not feed",
      { prices: [{ ...PRICE, eventName: "x" }] },
      '[0].eventName: no billing rule feeds "x"',
    ],
    ["a currency in capitals", { prices: [{ ...PRICE, currency: "USD" }] }, "stripe.prices[0].currency: must be three"],
    [
      "an amount as a number",
      { prices: [{ ...PRICE, unitAmountDecimal: 0.0003 }] },
      "stripe.prices[0].unitAmountDecimal: ",
    ],
    [
      "13 decimal places",
      { prices: [{ ...PRICE, unitAmountDecimal: "0.0000000000001" }] },
      "[0].unitAmountDecimal: must be",
    ],
    ["a negative amount", { prices: [{ ...PRICE, unitAmountDecimal: "-1" }] }, "[0].unitAmountDecimal: must be"],
    ["an interval", { prices: [{ ...PRICE, interval: "hour" }] }, "stripe.prices[0].interval: "],
    [
      "a price twice",
      { prices: [PRICE, { ...PRICE, unitAmountDecimal: "1" }] },
      '[1].lookupKey: "metering_llm_tokens_usd_month" is that of stripe.prices[0]',
    ],
    [
      "a lookup key twice",
      { prices: [PRICE, { ...PRICE, currency: "eur", lookupKey: "metering_llm_tokens_usd_month" }] },
      "prices[1].lookupKey",
    ],
    ["a product without a name", { product: {} }, "stripe.product.name: "],
    ["a product's id", { product: { ...PRODUCT, id: "a b" } }, "stripe.product.id: must be"],
    ["a URL that is none", { webhook: { url: "metering.example" } }, "stripe.webhook.url: must be an http"],
    ["another scheme", { webhook: { url: "ftp://metering.example" } }, "stripe.webhook.url: must be an http"],
    [
      "a password in a URL",
      { webhook: { url: "https://u:p@metering.example" } },
      "stripe.webhook.url: must be an http",
    ],
    [
      "one URL for both kinds of event",
      { webhook: { ...WEBHOOK, thinUrl: WEBHOOK.url } },
      "stripe.webhook.thinUrl: must not be",
    ],
    ["a thin URL alone", { webhook: { thinUrl: WEBHOOK.url } }, "stripe.webhook.url: "],
    ["a key that is none", { webhooks: WEBHOOK }, 'stripe: Unrecognized key: "webhooks"'],
  ])("refuses %s", (_, stripe, problem) => {
    const problems = problemsOf({ product: PRODUCT, ...(stripe as object) });
    expect(problems).toEqual([expect.stringContaining(problem)]);
  });

  test("prices need a product", () => {
    expect(problemsOf({ product: undefined, prices: [PRICE] })).toEqual(["f: stripe.product: prices need a product"]);
  });

  test("its problems are named beside those of the meters and of the rules", () => {
    const text = JSON.stringify({
      meters: [{ name: "Tokens", unit: "token" }],
      billing: [{ meter: "tokens", eventName: "llm_tokens", weight: 0 }],
      stripe: { prices: [{ ...PRICE, eventName: "x", currency: "" }] },
    });
    const problems = (() => {
      try {
        return parseMeterCatalog(text, "f");
      } catch (cause) {
        return (cause as ConfigError).message;
      }
    })();
    for (const part of [
      "meters[0].name",
      "billing[0].weight",
      "stripe.prices[0].currency",
      "no billing rule",
      "need a product",
    ])
      expect(problems).toContain(part);
  });
});

// Reads metering.config.json: which meters there are, which Stripe meters they feed, and what setup is to make at Stripe.
import { readFileSync } from "node:fs";
import { z } from "zod";
import { type MeterCatalog, MODEL, REQUESTS_METER, STRIPE_MODEL, stripeModel } from "../../domain/meter.ts";
import type { StripeSetup } from "../../stripe/setup/wanted.ts";
import { LIMITS_SECTION, LIMITS_SECTION_NAMES, limitsSectionProblems, toLimitPolicy } from "./limits-section.ts";
import { ConfigError } from "./parse-config.ts";
import { STRIPE_SECTION, STRIPE_SECTION_NAMES, stripeSectionProblems, toStripeSetup } from "./stripe-section.ts";

const METER_NAME = z
  .string()
  .regex(/^[a-z][a-z0-9_]{0,63}$/, "must be 1 to 64 of a-z, 0-9 and _, a letter first")
  .describe("1 to 64 of a-z, 0-9 and _, a letter first.");

const METER = z.strictObject({
  name: METER_NAME.refine((name) => name !== REQUESTS_METER, {
    message: `"${REQUESTS_METER}" is counted by the service itself; it can be billed without being named here`,
  }),
  unit: z.enum(["token", "other"]).describe("Meters in tokens add up to tokens_used."),
});

const PAYLOAD_KEYS_MAX = 10;
/** Of what Stripe takes only the keys' 100 is documented; a longer value is taken for a mistake. */
const PAYLOAD_VALUE_MAX = 100;
/** Every event has these, from the report. */
const OWN_PAYLOAD_KEYS = ["stripe_customer_id", "value"];

const PAYLOAD_KEY = z
  .string()
  .regex(/^[a-z0-9_]{1,100}$/, "keys must be 1 to 100 of a-z, 0-9 and _")
  .refine((key) => !OWN_PAYLOAD_KEYS.includes(key), `${OWN_PAYLOAD_KEYS.join(" and ")} are the service's own`);

const PAYLOAD = z
  .record(PAYLOAD_KEY, z.string().min(1).max(PAYLOAD_VALUE_MAX))
  .refine((payload) => Object.keys(payload).length <= PAYLOAD_KEYS_MAX, `at most ${PAYLOAD_KEYS_MAX} keys`)
  .describe(
    `What else the events carry, at most ${PAYLOAD_KEYS_MAX} keys. "${MODEL}" in whole stands for the record's model, "${STRIPE_MODEL}" for ` +
      "the same as Stripe's token billing names it; a record without a model leaves such a key out.",
  );

const BILLING_RULE = z.strictObject({
  meter: METER_NAME.describe(`A meter named under "meters", or "${REQUESTS_METER}", 1 a record.`),
  modelPattern: z
    .string()
    .min(1)
    .max(128)
    .default("*")
    .describe(
      'Models that the rule is for. "*" stands for any run of characters; alone it also matches records without a model.',
    ),
  eventName: z
    .string()
    .min(1)
    .max(100)
    .describe("Event name of the Stripe meter. Several rules may feed one: their quantities add up."),
  weight: z.int().min(1).max(1_000_000).default(1).describe("The quantity is multiplied by this."),
  payload: PAYLOAD.optional(),
});

const LABEL_KEY = z.string().regex(/^[a-z0-9_]{1,64}$/, "must be 1 to 64 of a-z, 0-9 and _");

const CONFIG_FILE = z.strictObject({
  $schema: z.string().optional().describe("For editors."),
  meters: z
    .array(METER)
    .min(1)
    .max(100)
    .describe("What callers may measure. Disjoint: a cached token is not also an input token."),
  billing: z
    .array(BILLING_RULE)
    .max(1000)
    .describe(
      "How quantities reach Stripe. A quantity goes to every rule that matches; one that matches none is not billed.",
    ),
  rollupLabels: z
    .array(LABEL_KEY)
    .max(8)
    .default([])
    .describe("Label keys that totals can be grouped by. Each multiplies the number of series."),
  limits: LIMITS_SECTION.optional().describe("Limits of API keys; the keys themselves are defined by `metering keys`."),
  stripe: STRIPE_SECTION.optional().describe(
    "What `metering stripe setup` finds or makes at Stripe, beside the meters.",
  ),
});

/** What the cross-checks look at, taken from a file that may be wrong elsewhere, so that all its problems are named at once. */
const NAMES = z.object({
  meters: z.array(z.object({ name: z.string() }).catch({ name: "" })).catch([]),
  billing: z
    .array(
      z
        .object({
          meter: z.string(),
          modelPattern: z.string().default("*"),
          eventName: z.string(),
          payload: z.record(z.string(), z.string()).catch({}),
        })
        .catch({ meter: "", modelPattern: "", eventName: "", payload: {} }),
    )
    .catch([]),
  rollupLabels: z.array(z.string().catch("")).catch([]),
  limits: LIMITS_SECTION_NAMES.optional().catch(undefined),
  stripe: STRIPE_SECTION_NAMES.optional().catch(undefined),
});

function crossChecks({ meters, billing, rollupLabels, limits, stripe }: z.infer<typeof NAMES>): string[] {
  const names = meters.map((meter) => meter.name);
  // Whatever its payload: Stripe's sum of the meter is over all payloads.
  const rules = billing.map(({ payload: _, ...rule }) => (rule.meter === "" ? "" : JSON.stringify(rule)));
  const unknown = billing.flatMap(({ meter }, index) =>
    meter === "" || meter === REQUESTS_METER || names.includes(meter)
      ? []
      : [`billing[${index}].meter: "${meter}" is not among the meters`],
  );
  return [
    ...repeats(names).map((index) => `meters[${index}].name: "${names[index]}" is there twice`),
    ...unknown,
    ...repeats(rules).map((index) => `billing[${index}]: repeats an earlier rule; its quantity would count twice`),
    ...repeats(rollupLabels).map((index) => `rollupLabels[${index}]: "${rollupLabels[index]}" is there twice`),
    ...longModels(billing),
    ...(limits === undefined ? [] : limitsSectionProblems(limits, names)),
    ...(stripe === undefined
      ? []
      : stripeSectionProblems(
          stripe,
          billing.map((rule) => rule.eventName),
        )),
  ];
}

/** Rules whose models are so long that Stripe might not take them: what can be told before there are any. */
function longModels(billing: z.infer<typeof NAMES>["billing"]): string[] {
  return billing.flatMap(({ modelPattern, payload }, index) => {
    const shortest = modelPattern.replaceAll("*", "");
    return Object.entries(payload).flatMap(([key, value]) => {
      const model = value === MODEL ? shortest : value === STRIPE_MODEL ? stripeModel(shortest) : "";
      return model.length <= PAYLOAD_VALUE_MAX
        ? []
        : [`billing[${index}].payload.${key}: the models of the rule have more than ${PAYLOAD_VALUE_MAX} characters`];
    });
  });
}

/** Reads and checks the file, for its meters. Throws ConfigError with every problem, each with its place in the file. */
export function readMeterCatalog(file: string): MeterCatalog {
  return parseMeterCatalog(textOf(file), file);
}

/** As readMeterCatalog, for the file's text; `file` is for messages. */
export function parseMeterCatalog(text: string, file: string): MeterCatalog {
  const { meters, billing, rollupLabels, limits } = parseConfigFile(text, file);
  const tokenMeters = meters.filter(({ unit }) => unit === "token").map(({ name }) => name);
  return Object.freeze({
    meters: new Map(meters.map((meter) => [meter.name, Object.freeze(meter)])),
    billing: billing.map(({ payload, ...rule }) =>
      Object.freeze({
        ...rule,
        weight: BigInt(rule.weight),
        ...(payload && { payload: new Map(Object.entries(payload)) }),
      }),
    ),
    rollupLabels,
    limits: toLimitPolicy(limits, tokenMeters),
  });
}

/** Reads and checks the file, for what setup is to make at Stripe. Throws as readMeterCatalog does. */
export function readStripeSetup(file: string): StripeSetup {
  return parseStripeSetup(textOf(file), file);
}

/** As readStripeSetup, for the file's text. */
export function parseStripeSetup(text: string, file: string): StripeSetup {
  return toStripeSetup(parseConfigFile(text, file).stripe);
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new ConfigError([`METERING_CONFIG: ${file} cannot be read: ${(cause as Error).message}`]);
  }
}

function parseConfigFile(text: string, file: string): z.infer<typeof CONFIG_FILE> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError([`${file} is not JSON: ${(cause as Error).message}`]);
  }
  const result = CONFIG_FILE.safeParse(json);
  const names = NAMES.safeParse(json);
  const problems = [
    ...(result.error?.issues.map(describeIssue) ?? []),
    ...(names.success ? crossChecks(names.data) : []),
  ];
  if (!result.success || problems.length > 0) throw new ConfigError(problems.map((problem) => `${file}: ${problem}`));
  return result.data;
}

/** JSON Schema of the file, published as metering.config.schema.json for editors. */
export function meterCatalogJsonSchema(): string {
  const schema = z.toJSONSchema(CONFIG_FILE, { io: "input", target: "draft-7" });
  return `${JSON.stringify({ title: "metering.config.json", ...schema }, undefined, 2)}\n`;
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const path = issue.path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  const message = issue.code === "invalid_key" ? issue.issues.map((one) => one.message).join(", ") : issue.message;
  return `${path === "" ? "" : `${path.replace(/^\./, "")}: `}${message}`;
}

/** Indexes of values that occur earlier too; empty ones do not count. */
function repeats(values: readonly string[]): number[] {
  return values.flatMap((value, index) => (value !== "" && values.indexOf(value) < index ? [index] : []));
}

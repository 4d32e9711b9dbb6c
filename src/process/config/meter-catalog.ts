// Reads metering.config.json: which meters there are, and which Stripe meters they feed.
import { readFileSync } from "node:fs";
import { z } from "zod";
import { type MeterCatalog, REQUESTS_METER } from "../../domain/meter.ts";
import { ConfigError } from "./parse-config.ts";

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
});

const LABEL_KEY = z.string().regex(/^[a-z0-9_]{1,64}$/, "must be 1 to 64 of a-z, 0-9 and _");

const CATALOG = z.strictObject({
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
});

/** What the cross-checks look at, taken from a file that may be wrong elsewhere, so that all its problems are named at once. */
const NAMES = z.object({
  meters: z.array(z.object({ name: z.string() }).catch({ name: "" })).catch([]),
  billing: z
    .array(
      z
        .object({ meter: z.string(), modelPattern: z.string().default("*"), eventName: z.string() })
        .catch({ meter: "", modelPattern: "", eventName: "" }),
    )
    .catch([]),
  rollupLabels: z.array(z.string().catch("")).catch([]),
});

function crossChecks({ meters, billing, rollupLabels }: z.infer<typeof NAMES>): string[] {
  const names = meters.map((meter) => meter.name);
  const rules = billing.map((rule) => (rule.meter === "" ? "" : JSON.stringify(rule)));
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
  ];
}

/** Reads and checks the file. Throws ConfigError with every problem, each with its place in the file. */
export function readMeterCatalog(file: string): MeterCatalog {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new ConfigError([`METERING_CONFIG: ${file} cannot be read: ${(cause as Error).message}`]);
  }
  return parseMeterCatalog(text, file);
}

/** As readMeterCatalog, for the file's text; `file` is for messages. */
export function parseMeterCatalog(text: string, file: string): MeterCatalog {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError([`${file} is not JSON: ${(cause as Error).message}`]);
  }
  const result = CATALOG.safeParse(json);
  const names = NAMES.safeParse(json);
  const problems = [
    ...(result.error?.issues.map(describeIssue) ?? []),
    ...(names.success ? crossChecks(names.data) : []),
  ];
  if (!result.success || problems.length > 0) throw new ConfigError(problems.map((problem) => `${file}: ${problem}`));
  const { meters, billing, rollupLabels } = result.data;
  return Object.freeze({
    meters: new Map(meters.map((meter) => [meter.name, Object.freeze(meter)])),
    billing: billing.map((rule) => Object.freeze({ ...rule, weight: BigInt(rule.weight) })),
    rollupLabels,
  });
}

/** JSON Schema of the file, published as metering.config.schema.json for editors. */
export function meterCatalogJsonSchema(): string {
  const schema = z.toJSONSchema(CATALOG, { io: "input", target: "draft-7" });
  return `${JSON.stringify({ title: "metering.config.json", ...schema }, undefined, 2)}\n`;
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const path = issue.path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  return `${path === "" ? "" : `${path.replace(/^\./, "")}: `}${issue.message}`;
}

/** Indexes of values that occur earlier too; empty ones do not count. */
function repeats(values: readonly string[]): number[] {
  return values.flatMap((value, index) => (value !== "" && values.indexOf(value) < index ? [index] : []));
}

// Parameter checks: zod schemas for shape, and the translation of what they find into Stripe's messages.
import { z } from "zod";
import { badRequest, type StripeError } from "./stripe-error.ts";

/** A required, non-empty text of at most `max` characters. */
export function text(max = 5_000) {
  return z.string().min(1).max(max);
}

/** Text that an empty string unsets: "" parses to null. */
export function unsettableText(max = 5_000) {
  return z
    .string()
    .max(max)
    .transform((value) => (value === "" ? null : value));
}

/** A whole number, in decimal text (forms) or as a JSON number, within the safe range. */
export function integer() {
  return z.union([z.string(), z.number()]).transform((value, context) => {
    const number = Number(value);
    if (/^-?\d+$/.test(String(value)) && Number.isSafeInteger(number)) return number;
    context.addIssue({
      code: "custom",
      message: `Invalid integer: ${value}`,
      params: { code: "parameter_invalid_integer" },
    });
    return z.NEVER;
  });
}

/** A whole number from `least` to `most`. */
export function integerWithin(least: number, most: number) {
  return integer().refine((value) => value >= least && value <= most, `This value must be from ${least} to ${most}.`);
}

/** `true` or `false`, as text (forms) or as a JSON boolean. */
export function flag() {
  return z.union([z.string(), z.boolean()]).transform((value, context) => {
    if (value === true || value === "true") return true;
    if (value === false || value === "false") return false;
    context.addIssue({ code: "custom", message: `Invalid boolean: ${value}` });
    return z.NEVER;
  });
}

/** Metadata as sent: an empty value removes the key, an empty string in place of the map removes all. */
export function metadata() {
  return z.union([z.record(z.string().max(40), z.string().max(500)), z.literal("")]).optional();
}

/** The metadata that holds after `change` was sent. */
export function mergeMetadata(
  before: Readonly<Record<string, string>>,
  change: Readonly<Record<string, string>> | "" | undefined,
): Record<string, string> {
  if (change === "") return {};
  return Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== ""));
}

/** All parameters of a route: unknown ones are refused, `expand` is allowed everywhere. */
export function params<S extends z.ZodRawShape>(shape: S) {
  return z.strictObject({ ...shape, expand: z.array(z.string()).optional() });
}

/** Parses or throws the 400 that Stripe would answer; such an answer is not saved under an idempotency key. */
export function parseParams<T>(schema: z.ZodType<T>, raw: unknown): T {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issues = result.error.issues;
  const first = issues.find((issue) => issue.code === "unrecognized_keys") ?? issues[0];
  if (first === undefined) throw new Error("a failed parse without an issue");
  throw toStripeError(first, raw);
}

function toStripeError(issue: z.core.$ZodIssue, raw: unknown): StripeError {
  const param = bracketed(issue.path);
  const sent = valueAt(raw, issue.path);
  if (issue.code === "unrecognized_keys") {
    const names = issue.keys.map((key) => bracketed([...issue.path, key]));
    const message = `Received unknown parameter${names.length > 1 ? "s" : ""}: ${names.join(", ")}`;
    return badRequest(message, { code: "parameter_unknown", param: names[0] ?? "" });
  }
  if (sent === undefined) {
    return badRequest(`Missing required param: ${param}.`, { code: "parameter_missing", param });
  }
  if (issue.code === "too_small" && sent === "") {
    const message =
      `You passed an empty string for '${param}'. We assume empty values are an attempt to unset a parameter; however ` +
      `'${param}' cannot be unset. You should remove '${param}' from your request or supply a non-empty value.`;
    return badRequest(message, { code: "parameter_invalid_empty", param });
  }
  if (issue.code === "too_big" && typeof sent === "string") {
    const shown = sent.length > 40 ? `${sent.slice(0, 20)}...${sent.slice(-10)}` : sent;
    return badRequest(`Invalid string: ${shown}; must be at most ${issue.maximum} characters`, { param });
  }
  if (issue.code === "invalid_value") {
    return badRequest(`Invalid ${param}: must be one of ${issue.values.map(String).join(", ")}`, { param });
  }
  if (issue.code === "custom") {
    const { code } = issue.params ?? {};
    return badRequest(issue.message, typeof code === "string" ? { code, param } : { param });
  }
  return badRequest(`Invalid ${issue.code === "invalid_type" ? issue.expected : "value"} for ${param}`, { param });
}

function bracketed(path: readonly PropertyKey[]): string {
  return path.map((step, index) => (index === 0 ? String(step) : `[${String(step)}]`)).join("");
}

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  let value = raw;
  for (const step of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Reflect.get(value, step);
  }
  return value;
}

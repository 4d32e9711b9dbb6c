// The section "limits" of metering.config.json: which meters count, and the tiers.
import { z } from "zod";
import type { LimitPolicy, Tier } from "../../domain/limits.ts";
import { REQUESTS_METER } from "../../domain/meter.ts";

/** Exact as a number in JSON; a larger limit is a key's own, or none. */
const TIER_LIMIT = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

const TIER = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, "must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
    .describe("What keys name it by: 1 to 64 of A-Z, a-z, 0-9, _ and -."),
  tokensPerMinute: TIER_LIMIT.optional().describe("Tokens per UTC minute. Default: no limit."),
  tokensPerDay: TIER_LIMIT.optional().describe("Tokens per UTC day. Default: no limit."),
  onLimit: z
    .enum(["report", "refuse"])
    .default("report")
    .describe(
      '"refuse": CheckLimits fails while a limit is used up. "report": it tells what is left. Recording is never refused.',
    ),
});

export const LIMITS_SECTION = z.strictObject({
  meters: z
    .array(z.string())
    .min(1)
    .max(100)
    .optional()
    .describe(`Meters that count towards limits, "${REQUESTS_METER}" maybe among them. Default: all in tokens.`),
  tiers: z
    .array(TIER)
    .max(100)
    .default([])
    .describe("Named sets of limits. A key has the limits of its tier, but for those that it has itself."),
});

/** What the cross-checks look at, of a section that may be wrong elsewhere. */
export const LIMITS_SECTION_NAMES = z.object({
  meters: z.array(z.string().catch("")).catch([]).default([]),
  tiers: z
    .array(z.object({ name: z.string() }).catch({ name: "" }))
    .catch([])
    .default([]),
});

/** `meters`: the names of all that are configured. */
export function limitsSectionProblems(
  { meters: counted, tiers }: z.infer<typeof LIMITS_SECTION_NAMES>,
  meters: readonly string[],
): string[] {
  const names = tiers.map((tier) => tier.name);
  const isRepeat = (values: readonly string[], value: string, i: number) => value !== "" && values.indexOf(value) < i;
  return [
    ...counted.flatMap((meter, i) => {
      if (isRepeat(counted, meter, i)) return [`limits.meters[${i}]: "${meter}" is there twice`];
      const isKnown = meter === "" || meter === REQUESTS_METER || meters.includes(meter);
      return isKnown ? [] : [`limits.meters[${i}]: "${meter}" is not among the meters`];
    }),
    ...names.flatMap((name, i) =>
      isRepeat(names, name, i) ? [`limits.tiers[${i}].name: "${name}" is there twice`] : [],
    ),
  ];
}

/** `tokenMeters`: what counts where the section says nothing. */
export function toLimitPolicy(
  section: z.infer<typeof LIMITS_SECTION> | undefined,
  tokenMeters: readonly string[],
): LimitPolicy {
  const tiers = (section?.tiers ?? []).map(({ name, tokensPerMinute, tokensPerDay, onLimit }): [string, Tier] => {
    const limits = { tokensPerMinute: toLimit(tokensPerMinute), tokensPerDay: toLimit(tokensPerDay) };
    return [name, Object.freeze({ name, ...limits, onLimit })];
  });
  return { meters: section?.meters ?? tokenMeters, tiers: new Map(tiers) };
}

function toLimit(limit: number | undefined): bigint | undefined {
  return limit === undefined ? undefined : BigInt(limit);
}

// How this stand-in behaves where Stripe's behaviour is configurable, or not known for certain.
import { z } from "zod";

const HOUR_MS = 3_600_000;
const milliseconds = (most: number) => z.number().int().min(0).max(most);

/** Part of the persisted state; changed at start or through the control interface. */
export const settingsSchema = z.strictObject({
  /** How long an identifier stays unique. Stripe says at least 24 h; after it, an equal event IS counted again. */
  identifierKeptMs: milliseconds(40 * 24 * HOUR_MS),
  /** How long an answer is kept under its Idempotency-Key. Stripe says at least 24 h. */
  idempotencyKeptMs: milliseconds(40 * 24 * HOUR_MS),
  /** Event summaries show an event only this long after its receipt. */
  summaryDelayMs: milliseconds(24 * HOUR_MS),
  /** From draft, once webhooks are answered, to finalization. Stripe: 1 h, at most 72 h. */
  invoiceGraceMs: milliseconds(72 * HOUR_MS),
  /** Failed webhooks are tried again for three days (live), or three times over a few hours (sandbox). */
  webhookRetries: z.enum(["live", "sandbox"]),
  /** For this share of happenings, 0 to 1, Stripe makes two events, with ids of their own. */
  twinEventRate: z.number().min(0).max(1),
  /** Accept decimals as event values (Stripe's docs of 2026 say so, its error texts don't). */
  decimalValues: z.boolean(),
});

export type Settings = z.infer<typeof settingsSchema>;

/** Some settings; the rest stay. */
export type SettingsChange = { readonly [K in keyof Settings]?: Settings[K] | undefined };

export const DEFAULT_SETTINGS: Settings = {
  identifierKeptMs: 24 * HOUR_MS,
  idempotencyKeptMs: 24 * HOUR_MS,
  summaryDelayMs: 0,
  invoiceGraceMs: HOUR_MS,
  webhookRetries: "live",
  twinEventRate: 0,
  decimalValues: false,
};

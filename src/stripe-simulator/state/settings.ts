// How this stand-in behaves where Stripe's behaviour is configurable, or not known for certain.
import { z } from "zod";

const HOUR_MS = 3_600_000;
const milliseconds = (most: number) => z.number().int().min(0).max(most);

/** Part of the persisted state; changed at start or through the control interface. */
export const settingsSchema = z.strictObject({
  /** How long an identifier stays unique. Stripe says at least 24 h; after it, an equal event IS counted again. */
  identifierKeptMs: milliseconds(40 * 24 * HOUR_MS),
  /** Whether an event that was refused after its receipt keeps its identifier taken, so that it can't be resent under it. */
  rejectedIdentifierKept: z.boolean(),
  /** How long an answer is kept under its Idempotency-Key. Stripe says at least 24 h. */
  idempotencyKeptMs: milliseconds(40 * 24 * HOUR_MS),
  /** The same for v2, where only what was done is kept. */
  v2IdempotencyKeptMs: milliseconds(40 * 24 * HOUR_MS),
  /** Event summaries show an event only this long after its receipt. */
  summaryDelayMs: milliseconds(24 * HOUR_MS),
  /** If above summaryDelayMs, each event's delay is drawn between the two: a later event may show before an earlier one. */
  summaryDelayMaxMs: milliseconds(24 * HOUR_MS),
  /** Events of the stream are validated at the end of the ten seconds that hold their receipt and so much. */
  validationDelayMs: milliseconds(24 * HOUR_MS),
  /** From the end of a validation window to the event that reports its errors. */
  errorReportDelayMs: milliseconds(24 * HOUR_MS),
  /** Most samples of one code in an error report; its counts stay exact. */
  errorSamplesMax: z.number().int().min(0).max(1_000),
  /** Stripe's own limits: live 1 000 meter events/s, 10 000 streamed events/s, 100 other calls/s; sandbox 25 calls/s in all. */
  rateLimits: z.enum(["off", "live", "sandbox"]),
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
  rejectedIdentifierKept: true,
  idempotencyKeptMs: 24 * HOUR_MS,
  v2IdempotencyKeptMs: 30 * 24 * HOUR_MS,
  summaryDelayMs: 0,
  summaryDelayMaxMs: 0,
  validationDelayMs: 0,
  errorReportDelayMs: 2_000,
  errorSamplesMax: 5,
  rateLimits: "off",
  invoiceGraceMs: HOUR_MS,
  webhookRetries: "live",
  twinEventRate: 0,
  decimalValues: false,
};

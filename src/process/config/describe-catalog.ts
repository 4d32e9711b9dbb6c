// What metering.config.json comes to, for `check-config`.
import { limitPolicyOf } from "../../domain/limits.ts";
import type { MeterCatalog } from "../../domain/meter.ts";
import type { StripeSetup } from "../../stripe/setup/wanted.ts";

/** For people: a line a meter, billing rule, price and URL. */
export function catalogText(catalog: MeterCatalog, setup: StripeSetup): string {
  const { meters, billing, rollupLabels } = catalog;
  const limits = limitPolicyOf(catalog);
  const lines = [
    `Meters: ${[...meters.values()].map(({ name, unit }) => (unit === "token" ? name : `${name} (not tokens)`)).join(", ")}`,
    "Billing:",
    ...billing.map(({ meter, modelPattern, eventName, weight, payload }) => {
      const extra = [...(payload ?? [])].map(([key, value]) => ` ${key}=${value}`).join("");
      return `  ${meter} of ${modelPattern}${weight === 1n ? "" : ` x ${weight}`} -> ${eventName}${extra}`;
    }),
    ...(rollupLabels.length > 0 ? [`Rollup labels: ${rollupLabels.join(", ")}`] : []),
    `Towards limits count: ${limits.meters.join(", ") || "no meters"}`,
    ...[...limits.tiers.values()].map(({ name, tokensPerMinute, tokensPerDay, onLimit }) => {
      return `Tier ${name}: ${tokensPerMinute ?? "any"} a minute, ${tokensPerDay ?? "any"} a day, ${onLimit}`;
    }),
  ];
  const { product, prices, webhookUrl, thinWebhookUrl } = setup;
  if (product !== undefined) lines.push(`Stripe product: ${product.name} (${product.id})`);
  for (const { eventName, currency, unitAmountDecimal, interval, lookupKey } of prices)
    lines.push(
      `Stripe price: ${unitAmountDecimal} of the smallest unit of ${currency} for a unit of ${eventName}, by the ${interval} (${lookupKey})`,
    );
  if (webhookUrl !== undefined) lines.push(`Stripe webhook endpoint: ${webhookUrl}`);
  if (thinWebhookUrl !== undefined) lines.push(`Stripe thin event destination: ${thinWebhookUrl}`);
  return lines.join("\n");
}

/** The same for programs. */
export function catalogJson(catalog: MeterCatalog, setup: StripeSetup): object {
  const { meters, billing, rollupLabels } = catalog;
  const limits = limitPolicyOf(catalog);
  return {
    meters: [...meters.values()],
    billing: billing.map((rule) => ({
      ...rule,
      weight: Number(rule.weight),
      payload: Object.fromEntries(rule.payload ?? []),
    })),
    rollupLabels,
    limits: {
      meters: limits.meters,
      tiers: [...limits.tiers.values()].map(({ name, tokensPerMinute, tokensPerDay, onLimit }) => {
        const perMinute = tokensPerMinute === undefined ? null : Number(tokensPerMinute);
        const perDay = tokensPerDay === undefined ? null : Number(tokensPerDay);
        return { name, tokensPerMinute: perMinute, tokensPerDay: perDay, onLimit };
      }),
    },
    stripe: setup,
  };
}

// What metering.config.json comes to, for `check-config`.
import type { MeterCatalog } from "../../domain/meter.ts";
import type { StripeSetup } from "../../stripe/setup/wanted.ts";

/** For people: a line a meter, billing rule, price and URL. */
export function catalogText({ meters, billing, rollupLabels }: MeterCatalog, setup: StripeSetup): string {
  const lines = [
    `Meters: ${[...meters.values()].map(({ name, unit }) => (unit === "token" ? name : `${name} (not tokens)`)).join(", ")}`,
    "Billing:",
    ...billing.map(({ meter, modelPattern, eventName, weight, payload }) => {
      const extra = [...(payload ?? [])].map(([key, value]) => ` ${key}=${value}`).join("");
      return `  ${meter} of ${modelPattern}${weight === 1n ? "" : ` x ${weight}`} -> ${eventName}${extra}`;
    }),
    ...(rollupLabels.length > 0 ? [`Rollup labels: ${rollupLabels.join(", ")}`] : []),
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
export function catalogJson({ meters, billing, rollupLabels }: MeterCatalog, setup: StripeSetup): object {
  return {
    meters: [...meters.values()],
    billing: billing.map((rule) => ({
      ...rule,
      weight: Number(rule.weight),
      payload: Object.fromEntries(rule.payload ?? []),
    })),
    rollupLabels,
    stripe: setup,
  };
}

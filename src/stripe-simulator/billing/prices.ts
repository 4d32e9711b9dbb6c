// Prices: /v1/prices. Per-unit prices, metered ones backed by a meter; tiers are refused.
import { z } from "zod";
import { flag, integer, mergeMetadata, metadata, params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { createdShape, isCreatedWithin, pagingShape } from "../state/collection.ts";
import { formatQuantity, parseQuantity, QUANTITY_ONE } from "../usage/quantity.ts";
import type { Interval } from "./periods.ts";
import { createProduct, productShape } from "./products.ts";

export interface Price {
  readonly id: string;
  readonly created: number;
  active: boolean;
  readonly currency: string;
  readonly lookup_key: string | null;
  metadata: Record<string, string>;
  nickname: string | null;
  readonly product: string;
  readonly recurring:
    | (Interval & { readonly meter: string | null; readonly usage_type: "licensed" | "metered" })
    | null;
  readonly transform_quantity: { readonly divide_by: number; readonly round: "down" | "up" } | null;
  /** Of one unit, in the currency's smallest unit, scaled as quantities are. */
  readonly unitAmount: bigint;
}

/** `price`. */
export function renderPrice(price: Price): object {
  const { unitAmount, recurring, ...shown } = price;
  return {
    ...shown,
    object: "price",
    metadata: { ...price.metadata },
    billing_scheme: "per_unit",
    custom_unit_amount: null,
    livemode: false,
    recurring: recurring === null ? null : { ...recurring, trial_period_days: null },
    tax_behavior: "unspecified",
    tiers_mode: null,
    type: recurring === null ? "one_time" : "recurring",
    unit_amount: unitAmount % QUANTITY_ONE === 0n ? Number(unitAmount / QUANTITY_ONE) : null,
    unit_amount_decimal: formatQuantity(unitAmount),
  };
}

/** The older form of a recurring price, which subscription items still carry. */
export function renderPlan(price: Price): object {
  const shown = renderPrice(price) as { readonly unit_amount: number | null; readonly unit_amount_decimal: string };
  return {
    id: price.id,
    object: "plan",
    active: price.active,
    amount: shown.unit_amount,
    amount_decimal: shown.unit_amount_decimal,
    billing_scheme: "per_unit",
    created: price.created,
    currency: price.currency,
    interval: price.recurring?.interval ?? "month",
    interval_count: price.recurring?.interval_count ?? 1,
    livemode: false,
    metadata: { ...price.metadata },
    meter: price.recurring?.meter ?? null,
    nickname: price.nickname,
    product: price.product,
    tiers_mode: null,
    transform_usage: price.transform_quantity,
    trial_period_days: null,
    usage_type: price.recurring?.usage_type ?? "licensed",
  };
}

const createPrice = params({
  currency: text(3),
  product: text().optional(),
  product_data: z.strictObject(productShape).optional(),
  unit_amount: integer().optional(),
  unit_amount_decimal: text(30).optional(),
  recurring: z
    .strictObject({
      interval: z.enum(["day", "month", "week", "year"]),
      interval_count: integer().optional(),
      meter: text().optional(),
      usage_type: z.enum(["licensed", "metered"]).optional(),
    })
    .optional(),
  transform_quantity: z.strictObject({ divide_by: integer(), round: z.enum(["down", "up"]) }).optional(),
  billing_scheme: z.enum(["per_unit"]).optional(),
  active: flag().optional(),
  lookup_key: text(200).optional(),
  nickname: text().optional(),
  metadata: metadata(),
});
type CreatePrice = z.infer<typeof createPrice>;

function create(account: Account, sent: CreatePrice): object {
  const unitAmount = unitAmountOf(sent);
  const recurring = recurringOf(account, sent);
  checkLookupKey(account, sent.lookup_key);
  if (sent.transform_quantity !== undefined && sent.transform_quantity.divide_by < 1) {
    throw badRequest("This value must be greater than or equal to 1.", { param: "transform_quantity[divide_by]" });
  }
  const price = account.prices.add({
    id: account.newId("price_"),
    created: account.now,
    active: sent.active ?? true,
    currency: sent.currency.toLowerCase(),
    lookup_key: sent.lookup_key ?? null,
    metadata: mergeMetadata({}, sent.metadata),
    nickname: sent.nickname ?? null,
    product: productOf(account, sent),
    recurring,
    transform_quantity: sent.transform_quantity ?? null,
    unitAmount,
  });
  account.emit("price.created", renderPrice(price));
  return renderPrice(price);
}

/** A key belongs to one price, archived ones too (observed). */
function checkLookupKey(account: Account, key: string | undefined): void {
  if (key === undefined) return;
  for (const { id, lookup_key } of account.prices.values()) {
    if (lookup_key === key) {
      throw badRequest(`A price (\`${id}\`) already uses that lookup key.`, { param: "lookup_key" });
    }
  }
}

function unitAmountOf(sent: CreatePrice): bigint {
  if ((sent.unit_amount === undefined) === (sent.unit_amount_decimal === undefined)) {
    throw badRequest("You must specify exactly one of unit_amount and unit_amount_decimal.", { param: "unit_amount" });
  }
  const scaled = parseQuantity(sent.unit_amount_decimal ?? String(sent.unit_amount));
  if (scaled === undefined) {
    throw badRequest(`Invalid decimal: ${sent.unit_amount_decimal}; must contain at maximum twelve decimal places.`, {
      param: "unit_amount_decimal",
    });
  }
  return scaled;
}

function recurringOf(account: Account, sent: CreatePrice): Price["recurring"] {
  if (sent.recurring === undefined) return null;
  const { interval, interval_count = 1, meter, usage_type = "licensed" } = sent.recurring;
  if (interval_count < 1) {
    throw badRequest("This value must be greater than or equal to 1.", { param: "recurring[interval_count]" });
  }
  if (usage_type === "metered" && meter === undefined) {
    throw badRequest("Prices with recurring[usage_type] set to metered must be backed by a meter.", {
      param: "recurring[meter]",
    });
  }
  if (meter !== undefined) {
    if (usage_type !== "metered") {
      throw badRequest("A price with a meter must have recurring[usage_type] set to metered.", {
        param: "recurring[usage_type]",
      });
    }
    if (account.meters.get(meter, "recurring[meter]").status !== "active") {
      throw badRequest("An inactive meter cannot be attached to a price.", { param: "recurring[meter]" });
    }
  }
  return { interval, interval_count, meter: meter ?? null, usage_type };
}

function productOf(account: Account, sent: CreatePrice): string {
  if (sent.product !== undefined) return account.products.get(sent.product, "product").id;
  if (sent.product_data !== undefined) return createProduct(account, sent.product_data).id;
  throw badRequest("You must specify either product or product_data.", { param: "product" });
}

const updatePrice = params({ active: flag().optional(), nickname: text().optional(), metadata: metadata() });

export const priceRoutes: readonly Route[] = [
  route("POST", "/v1/prices", createPrice, (call) => create(call.account, call.params)),
  route(
    "GET",
    "/v1/prices",
    params({
      ...pagingShape,
      ...createdShape,
      active: flag().optional(),
      product: text().optional(),
      currency: text(3).optional(),
      lookup_keys: z.array(text()).max(10).optional(),
    }),
    ({ account, params: sent }) => {
      const page = account.prices.page(
        sent,
        "/v1/prices",
        (price) =>
          (sent.active === undefined || price.active === sent.active) &&
          (sent.product === undefined || price.product === sent.product) &&
          (sent.currency === undefined || price.currency === sent.currency) &&
          (sent.lookup_keys === undefined || sent.lookup_keys.includes(price.lookup_key ?? "")) &&
          isCreatedWithin(price.created, sent.created),
      );
      return { ...page, data: page.data.map(renderPrice) };
    },
  ),
  route("GET", "/v1/prices/:id", params({}), ({ account, path }) => renderPrice(account.prices.get(path[0] ?? ""))),
  route("POST", "/v1/prices/:id", updatePrice, ({ account, path, params: sent }) => {
    const price = account.prices.get(path[0] ?? "");
    account.change("price.updated", price, renderPrice, () => {
      price.active = sent.active ?? price.active;
      price.nickname = sent.nickname ?? price.nickname;
      price.metadata = mergeMetadata(price.metadata, sent.metadata);
    });
    return renderPrice(price);
  }),
];

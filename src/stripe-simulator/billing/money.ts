// What a quantity costs. Exact, in scaled integers; rounded once, per line, half away from zero.
import { QUANTITY_ONE } from "../usage/quantity.ts";
import type { Price } from "./prices.ts";

/**
 * The amount of `quantity` (scaled) at a per-unit price, in the currency's smallest unit. `transform_quantity` divides and rounds
 * the quantity first.
 */
export function amountOf(price: Price, quantity: bigint): number {
  const unit = price.unitAmount;
  const product = transformed(price, quantity) * unit;
  const one = QUANTITY_ONE * QUANTITY_ONE;
  const half = product < 0n ? -(one / 2n) : one / 2n;
  return Number((product + half) / one);
}

function transformed(price: Price, quantity: bigint): bigint {
  const transform = price.transform_quantity;
  if (transform === null) return quantity;
  const divisor = BigInt(transform.divide_by) * QUANTITY_ONE;
  const whole = quantity / divisor;
  const rest = quantity % divisor;
  return (whole + (transform.round === "up" && rest > 0n ? 1n : 0n)) * QUANTITY_ONE;
}

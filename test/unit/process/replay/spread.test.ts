import { expect, test } from "vitest";
import { type Owner, spreadOwners } from "../../../../src/process/replay/spread.ts";

test("the same seed gives the same owners, another seed others", () => {
  expect(owners(50, 7, 100)).toEqual(owners(50, 7, 100));
  expect(owners(50, 7, 100)).not.toEqual(owners(50, 8, 100));
});

test("the spread is uneven, and everybody has some", () => {
  const rows = Array<number>(50).fill(0);
  for (const { customer } of owners(50, 1, 8_819)) rows[customer] = (rows[customer] ?? 0) + 1;
  expect(Math.min(...rows)).toBeGreaterThan(0);
  expect(rows[0]).toBeGreaterThan(20 * (rows[49] ?? 0));
});

test("one customer gets all", () => {
  expect(new Set(owners(1, 3, 50).map(({ customer }) => customer))).toEqual(new Set([0]));
});

function owners(customers: number, seed: number, count: number): Owner[] {
  const all = spreadOwners(customers, seed);
  return Array.from({ length: count }, () => all.next().value);
}

import { expect, test } from "vitest";
import { claimedCustomerId, customerIdProblem } from "../../../src/domain/customer-claim.ts";

const claim = (value: string) => claimedCustomerId({ other: "x", id: value }, "id");

test("metadata names a customer by the key, or nobody", () => {
  expect(claim("acme")).toEqual({ customerId: "acme", problem: undefined });
  expect(claim(" Ägir & Søn ")).toEqual({ customerId: " Ägir & Søn ", problem: undefined });
  expect(claim("")).toEqual({ customerId: undefined, problem: undefined });
  expect(claimedCustomerId({}, "id")).toEqual({ customerId: undefined, problem: undefined });
});

test.each([
  ["an id of Stripe's own, which would redirect another's bill", "cus_123"],
  ["too long an id", "x".repeat(129)],
  ["control characters", "a\u0000b"],
  ["half a character", "\uD800"],
])("no customer: %s", (_, value) => {
  expect(claim(value)).toEqual({ customerId: undefined, problem: expect.any(String) });
});

test("an id has 1 to 128 characters, not UTF-16 units", () => {
  expect(customerIdProblem("😀".repeat(128))).toBeUndefined();
  expect(customerIdProblem("😀".repeat(129))).toContain("128");
  expect(customerIdProblem("")).toContain("128");
});

// Whose usage a link's token opens, as far as the token says.
import { SignJWT } from "jose";
import { expect, test } from "vitest";
import { tokenSubject } from "../../../src/dashboard/token-subject.ts";

const sign = (claims: Record<string, unknown>) =>
  new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(new Uint8Array(32));

test("a customer's token names the customer, in any script", async () => {
  for (const sub of ["acme", "cus_1", "a/b c", "Zoë & Söhne", "株式会社", "🦊", "~~~???>>>"])
    expect(tokenSubject(await sign({ sub }))).toBe(sub);
});

test("an operator's token names nobody, nor does what is no such token", async () => {
  const others = [await sign({ all_customers: true }), await sign({ sub: "" }), await sign({ sub: 7 })];
  for (const token of [
    ...others,
    "",
    "mtr_0abcDEF12345_secret",
    "a.b",
    "a.b.c",
    "..",
    "a.%%%.c",
    `a.${btoa("null")}.c`,
  ])
    expect(tokenSubject(token)).toBeUndefined();
});

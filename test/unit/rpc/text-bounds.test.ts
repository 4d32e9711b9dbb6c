import fc from "fast-check";
import { expect, test } from "vitest";
import { keyProblem, textProblem } from "../../../src/rpc/text-bounds.ts";
import { seeded } from "../../support/seed.ts";

const anyText = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.string({ minLength: 5, maxLength: 20 }),
);

test("text is taken exactly when it is short enough, well-formed and free of control characters", () => {
  fc.assert(
    fc.property(anyText, fc.constantFrom(0 as const, 1 as const), fc.integer({ min: 1, max: 10 }), (text, min, max) => {
      const points = [...text];
      const control = points.some((c) => c <= "\x1f" || (c >= "\x7f" && c <= "\x9f"));
      const fits = points.length >= min && points.length <= max && !control && text.isWellFormed();
      expect(textProblem(text, min, max) === undefined).toBe(fits);
    }),
    seeded(5000),
  );
});

test("a key is taken exactly when it is 1..128 visible ASCII characters", () => {
  const key = fc.oneof(anyText, fc.string({ minLength: 120, maxLength: 135 }));
  fc.assert(
    fc.property(key, (text) => {
      const visible = [...text].every((c) => c >= "!" && c <= "~");
      expect(keyProblem(text) === undefined).toBe(text.length >= 1 && text.length <= 128 && visible);
    }),
    seeded(5000),
  );
});

test.each([
  ["", "is required"],
  ["\ud800", "must be valid Unicode"],
  ["a\u0000", "must not contain control characters"],
  ["aaaa", "must be at most 3 characters"],
  ["😀😀😀😀", "must be at most 3 characters"],
  ["😀😀😀", undefined],
])("%j: %s", (text, problem) => {
  expect(textProblem(text, 1, 3)).toBe(problem);
});

// Numbers and times as they stand on the screen, in more than one language.
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatIn, ratio, span } from "../../../src/dashboard/format.ts";
import { seeded } from "../../support/seed.ts";

const LOCALES = [
  "en-US",
  "en-GB",
  "de-DE",
  "de-CH",
  "fr-FR",
  "hi-IN",
  "ar-EG",
  "fa-IR",
  "my-MM",
  "ja-JP",
  "pt-PT",
  "sv-SE",
];

/** The digits of a locale, back to those of a program. */
function digitsOf(text: string, locale: string): string {
  const own = new Map(
    Array.from({ length: 10 }, (_, digit) => [new Intl.NumberFormat(locale).format(digit), String(digit)] as const),
  );
  return [...text].map((char) => own.get(char) ?? (/[-−\u2212]/.test(char) ? "-" : "")).join("");
}

describe("quantities", () => {
  test("every digit is there, in every language, up to 64 bits and beyond", () => {
    fc.assert(
      fc.property(fc.constantFrom(...LOCALES), fc.bigInt(-(2n ** 70n), 2n ** 70n), (locale, quantity) => {
        expect(digitsOf(formatIn(locale).whole(quantity), locale)).toBe(String(quantity));
      }),
      seeded(500),
    );
  });

  test("they are grouped as the language does", () => {
    const max = 2n ** 63n - 1n;
    expect(formatIn("en-US").whole(max)).toBe("9,223,372,036,854,775,807");
    expect(formatIn("de-DE").whole(max)).toBe("9.223.372.036.854.775.807");
    expect(formatIn("hi-IN").whole(1_234_567n)).toBe("12,34,567");
    expect(formatIn("fr-FR").whole(1_234n)).toBe("1\u202f234");
  });
});

describe("parts of a whole", () => {
  test("large ones too, and none of nothing", () => {
    expect(ratio(1n, 3n)).toBe(0.3333);
    expect(ratio(2n ** 62n, 2n ** 63n)).toBe(0.5);
    expect(ratio(0n, 0n)).toBe(0);
    expect(ratio(-5n, 10n)).toBe(-0.5);
    expect(formatIn("en-US").percent(999n, 1_000n)).toBe("100%");
  });

  test("more or less than before says which; of nothing there is no more", () => {
    const { change } = formatIn("en-US");
    expect(change(112n, 100n)).toBe("+12%");
    expect(change(80n, 100n)).toBe("-20%");
    expect(change(100n, 100n)).toBe("0%");
    expect(change(5n, 0n)).toBeUndefined();
  });
});

describe("times", () => {
  const at = new Date("2026-03-04T23:05:09Z");

  test("hours run from 0 to 23 in every language", () => {
    for (const locale of LOCALES) {
      const { moment, zonedMoment, clockTime, clockMinute } = formatIn(locale, "UTC");
      const texts = [moment(timestampFromDate(at)), zonedMoment(timestampFromDate(at)), clockTime(at.getTime())];
      for (const text of [...texts, clockMinute(at.getTime())]) {
        expect(digitsOf(text, locale), `${locale}: ${text}`).toContain("2305");
        expect(text, locale).not.toMatch(/[AP]M\b/i);
      }
      expect(digitsOf(formatIn(locale, "UTC").clockTime(Date.UTC(2026, 0, 1, 0, 7, 8)), locale)).toBe("000708");
    }
    expect(formatIn("en-GB", "UTC").moment(timestampFromDate(at))).toBe("4 Mar 2026, 23:05");
    expect(formatIn("en-US", "UTC").moment(timestampFromDate(at))).toBe("Mar 4, 2026, 23:05");
    // 3/4 is in March or in April, by who reads it.
    expect(formatIn("en-US", "UTC").day(at.getTime())).toBe("Mar 4");
  });

  test("in the zone of the reader, and that is named where it matters", () => {
    const { zonedMoment } = formatIn("en-GB", "Asia/Kathmandu");
    expect(zonedMoment(timestampFromDate(at))).toBe("5 Mar 2026, 04:50 GMT+5:45");
  });
});

describe("span", () => {
  test.each([
    [0, "0 s"],
    [-0.2, "0 s"],
    [12.4, "12 s"],
    [60, "1 min"],
    [3_661, "1 h 1 min"],
    [86_400, "1 d"],
    [-90_061, "−1 d 1 h"],
  ])("%d seconds are %s", (seconds, text) => {
    expect(span(seconds)).toBe(text);
  });
});

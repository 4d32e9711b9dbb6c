import { globSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { settingsMarkdown, settingsText } from "../../../src/process/config/describe-settings.ts";
import { parseDuration } from "../../../src/process/config/duration.ts";
import type { Setting } from "../../../src/process/config/setting.ts";
import { SETTINGS } from "../../../src/process/config/settings.ts";

const ALL: readonly Setting<unknown>[] = Object.values(SETTINGS);

describe("the table of settings", () => {
  test("the README holds it as the program prints it (metering check-config --markdown)", () => {
    const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
    expect(readme).toContain(settingsMarkdown());
  });

  test("every setting has an effect: the program reads it", () => {
    const root = new URL("../../../src/process/", import.meta.url);
    const code = globSync("**/*.ts", { cwd: root, exclude: (name) => /settings|setting\.ts/.test(name) })
      .map((file) => readFileSync(new URL(file, root), "utf8"))
      .join("\n");
    expect(Object.keys(SETTINGS).filter((name) => !new RegExp(`(\\.|["{ ])${name}\\b`).test(code))).toEqual([]);
  });

  test("every setting has a name of its own and its documentation", () => {
    expect(new Set(ALL.map((setting) => setting.env)).size).toBe(ALL.length);
    for (const { env, meaning, defaultText, range, whenToChange } of ALL) {
      expect(env).toMatch(/^[A-Z][A-Z_]+$/);
      for (const text of [meaning, defaultText, range, whenToChange]) expect(text.length).toBeGreaterThan(0);
      expect(settingsText()).toContain(env);
    }
  });

  test("a default that is written out is the default", () => {
    for (const setting of ALL) {
      if (setting.fallback === undefined || Array.isArray(setting.fallback)) continue;
      expect(setting.parse(setting.defaultText)).toEqual(setting.fallback);
    }
  });

  test("what can open a door is marked secret", () => {
    const secrets = ALL.filter((setting) => setting.secret).map((setting) => setting.env);
    expect(secrets).toEqual([
      "DATABASE_URL",
      "REDIS_URL",
      "STRIPE_SECRET_KEY",
      "STRIPE_WEBHOOK_SECRET",
      "STRIPE_THIN_WEBHOOK_SECRET",
      "METERING_TOKEN",
      "METERING_OPS_TOKEN",
      "OTEL_EXPORTER_OTLP_HEADERS",
    ]);
  });
});

test.each([
  ["0s", 0],
  ["500ms", 500],
  ["60s", 60_000],
  ["15m", 900_000],
  ["24h", 86_400_000],
  ["40d", 3_456_000_000],
  ["60", undefined],
  ["s", undefined],
  ["1.5s", undefined],
  ["-1s", undefined],
  ["1 s", undefined],
  ["1w", undefined],
  ["1S", undefined],
])("parseDuration(%j) is %j", (text, ms) => expect(parseDuration(text)).toBe(ms));

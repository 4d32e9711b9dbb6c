// `metering check-config`: what serve would make of this environment, without touching any store.
import { Command } from "commander";
import type { MeterCatalog } from "../../domain/meter.ts";
import type { StripeSetup } from "../../stripe/setup/wanted.ts";
import { catalogJson, catalogText } from "../config/describe-catalog.ts";
import { settingsMarkdown, settingsText } from "../config/describe-settings.ts";
import { durationText } from "../config/duration.ts";
import { processEnvironment } from "../config/environment.ts";
import { meterCatalogJsonSchema, readMeterCatalog, readStripeSetup } from "../config/meter-catalog.ts";
import { type Config, ConfigError, parseConfig, type SettingName } from "../config/parse-config.ts";
import { SETTINGS } from "../config/settings.ts";

interface Options {
  readonly json?: true;
  readonly markdown?: true;
  readonly schema?: true;
}

export function buildCommand(): Command {
  return new Command("check-config")
    .description(
      "Reads every setting and the meter catalog, names all problems at once, and prints what would be used. " +
        "Secrets are never printed. No store is contacted.",
    )
    .option("--json", "print one JSON object; durations in milliseconds")
    .option("--markdown", "print the table of settings as Markdown, as in the README, and check nothing")
    .option("--schema", "print the JSON Schema of metering.config.json, and check nothing")
    .addHelpText(
      "after",
      `\nExit codes: 0 all is well, 2 there are problems.\nExample: METERING_FLUSH_INTERVAL=10s metering check-config\n\nSettings:\n${settingsText()}`,
    )
    .action((options: Options) => {
      if (options.markdown) process.stdout.write(`${settingsMarkdown()}\n`);
      else if (options.schema) process.stdout.write(meterCatalogJsonSchema());
      else checkConfig(options.json === true);
    });
}

function checkConfig(json: boolean): void {
  const { config, catalog, setup, problems } = readAll();
  const settings = config === undefined ? undefined : shownSettings(config, json ? (ms) => ms : durationText);
  const described = catalog && setup && { text: catalogText(catalog, setup), json: catalogJson(catalog, setup) };
  if (json) {
    const { json: shown } = described ?? {};
    process.stdout.write(`${JSON.stringify({ ok: problems.length === 0, problems, settings, catalog: shown })}\n`);
    if (problems.length > 0) process.exitCode = 2;
    return;
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const lines = Object.entries(settings ?? {}).map(([env, value]) => `${env.padEnd(32)} ${value ?? "(unset)"}`);
  process.stdout.write(`${lines.join("\n")}\n\n${described?.text}\n\nThe configuration is sound.\n`);
}

/** The settings and the catalog: problems of both at once. */
function readAll(): {
  config: Config | undefined;
  catalog: MeterCatalog | undefined;
  setup: StripeSetup | undefined;
  problems: readonly string[];
} {
  const problems: string[] = [];
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (cause) {
      if (!(cause instanceof ConfigError)) throw cause;
      problems.push(...cause.problems);
      return undefined;
    }
  };
  const environment = processEnvironment();
  const config = attempt(() => parseConfig(environment));
  const catalogFile = config?.catalogFile ?? environment[SETTINGS.catalogFile.env] ?? SETTINGS.catalogFile.fallback;
  const catalog = attempt(() => readMeterCatalog(catalogFile));
  // The same file: its problems are told already.
  const setup = catalog && readStripeSetup(catalogFile);
  return { config, catalog, setup, problems };
}

/** By environment name; durations, which are in milliseconds, as `showMs` has them; secrets only as "(set)". */
function shownSettings(config: Config, showMs: (ms: number) => unknown): Record<string, unknown> {
  const names = Object.keys(SETTINGS) as SettingName[];
  return Object.fromEntries(
    names.map((name) => {
      const { env, secret } = SETTINGS[name];
      const value = config[name];
      const isSet = value !== undefined && (typeof value !== "object" || value.length > 0);
      if (secret) return [env, isSet ? "(set)" : undefined];
      return [env, name.endsWith("Ms") && typeof value === "number" ? showMs(value) : value];
    }),
  );
}

// What a setting is: one environment variable, how its text is read, and what the documentation says of it.
import { parseDuration } from "./duration.ts";

/** One line, finishing "<NAME> ...": "must be a port, 0..65535". */
export class SettingProblem extends Error {
  override readonly name = "SettingProblem";
}

export interface Setting<T> {
  readonly env: string;
  /** What it is for. */
  readonly meaning: string;
  /** Value when the variable is unset or empty. */
  readonly fallback: T;
  /** For people; the text that would give `fallback`, or what happens without it. */
  readonly defaultText: string;
  /** Unit and bounds, for people. */
  readonly range: string;
  readonly whenToChange: string;
  /** Never printed, not in full and not in part. */
  readonly secret: boolean;
  /** Throws SettingProblem. */
  readonly parse: (text: string) => T;
}

type Documentation = Pick<Setting<unknown>, "env" | "meaning" | "whenToChange">;

/** A whole number with bounds, both in. */
export function integer(about: Documentation & { fallback: number; min: number; max: number }): Setting<number> {
  const { fallback, min, max, ...documentation } = about;
  const range = `${groupDigits(min)}..${groupDigits(max)}`;
  return {
    ...documentation,
    fallback,
    defaultText: String(fallback),
    range,
    secret: false,
    parse(text) {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      if (value >= min && value <= max) return value;
      throw new SettingProblem(`must be a whole number, ${range}`);
    },
  };
}

/** A whole number with bounds, both in, or nothing: what then happens, `defaultText` says. */
export function optionalInteger(
  about: Documentation & { defaultText: string; min: number; max: number },
): Setting<number | undefined> {
  return { ...integer({ ...about, fallback: 0 }), fallback: undefined, defaultText: about.defaultText };
}

/** A TCP port to listen on. */
export function port(about: Documentation & { fallback: number }): Setting<number> {
  return { ...integer({ ...about, min: 0, max: 65_535 }), range: "0..65535, 0 for any free one" };
}

/** A span with its unit, read to milliseconds. Bounds are in. */
export function duration(about: Documentation & { fallback: string; min: string; max: string }): Setting<number> {
  const { fallback, min, max, ...documentation } = about;
  const bounds = [parseDuration(min), parseDuration(max), parseDuration(fallback)];
  const [minMs = 0, maxMs = 0, fallbackMs = 0] = bounds.map((bound) => bound ?? Number.NaN);
  const range = `${min}..${max}`;
  return {
    ...documentation,
    fallback: fallbackMs,
    defaultText: fallback,
    range,
    secret: false,
    parse(text) {
      const valueMs = parseDuration(text);
      if (valueMs !== undefined && valueMs >= minMs && valueMs <= maxMs) return valueMs;
      throw new SettingProblem(`must be a duration such as 500ms, 60s, 15m, 24h or 40d, ${range}`);
    },
  };
}

/** One of a few words. */
export function choice<const T extends string>(
  about: Documentation & { fallback: NoInfer<T>; words: readonly T[] },
): Setting<T> {
  const { fallback, words, ...documentation } = about;
  return {
    ...documentation,
    fallback,
    defaultText: fallback,
    range: words.join(", "),
    secret: false,
    parse(text) {
      const word = words.find((candidate) => candidate === text);
      if (word !== undefined) return word;
      throw new SettingProblem(`must be one of ${words.join(", ")}`);
    },
  };
}

/** Any text that is not empty. */
export function text(about: Documentation & { fallback: string; range: string }): Setting<string> {
  return { ...about, defaultText: about.fallback, secret: false, parse: (value) => value };
}

/** Text that must match `pattern`, or nothing. `range` says in words what the pattern asks. */
export function optionalText(
  about: Documentation & { defaultText: string; range: string; secret: boolean; pattern: RegExp },
): Setting<string | undefined> {
  const { pattern, ...rest } = about;
  return {
    ...rest,
    fallback: undefined,
    parse(value) {
      if (pattern.test(value)) return value;
      throw new SettingProblem(`must be ${about.range}`);
    },
  };
}

/** A path, or nothing. */
export function optionalPath(about: Documentation): Setting<string | undefined> {
  return {
    ...about,
    fallback: undefined,
    defaultText: "none",
    range: "a path",
    secret: false,
    parse: (value) => value,
  };
}

/** The ports of the service. */
export const PORT_KINDS = ["grpc", "http", "webhook", "ops"] as const;
export type PortKind = (typeof PORT_KINDS)[number];

/** Some of the ports, comma-separated. */
export function portList(about: Documentation & { fallback: readonly PortKind[] }): Setting<readonly PortKind[]> {
  return {
    ...about,
    defaultText: about.fallback.join(","),
    range: `some of ${PORT_KINDS.join(",")}`,
    secret: false,
    parse(value) {
      const words = value.split(",").map((word) => word.trim());
      const ports = PORT_KINDS.filter((kind) => words.includes(kind));
      if (ports.length === words.length) return ports;
      throw new SettingProblem(`must be some of ${PORT_KINDS.join(",")}, none twice`);
    },
  };
}

/** A URL of one of the schemes, each with its colon, or nothing. */
export function optionalUrl(
  about: Documentation & { defaultText: string; schemes: readonly string[]; secret: boolean },
): Setting<string | undefined> {
  const { schemes, ...rest } = about;
  const range = schemes.map((scheme) => `${scheme}//...`).join(" or ");
  return {
    ...rest,
    range,
    fallback: undefined,
    parse(value) {
      const url = URL.canParse(value) ? new URL(value) : undefined;
      if (url && !rest.secret && url.username + url.password !== "")
        throw new SettingProblem("must hold no user name and no password: it is shown where settings are");
      if (url && schemes.includes(url.protocol) && url.hostname !== "") return value;
      throw new SettingProblem(`must be a URL, ${range}`);
    },
  };
}

function groupDigits(value: number): string {
  return value.toLocaleString("en-US");
}

/** Of a setting that is true or false. */
export function parseBoolean(value: string): boolean {
  if (value === "true" || value === "false") return value === "true";
  throw new SettingProblem("must be true or false");
}

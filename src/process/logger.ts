// The one logger of a process: JSON lines where a machine reads, plain lines on a terminal. Secrets are cut out of whatever is written.
import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from "pino";
import type { Config } from "./config/parse-config.ts";

export type Logger = PinoLogger;

/** Where log lines go. */
export interface LogOutput {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const CUT = "[secret]";
const LEVELS = new Map([
  [10, "trace"],
  [20, "debug"],
  [30, "info"],
  [40, "WARN"],
  [50, "ERROR"],
  [60, "FATAL"],
]);

/** A logger at the configured level. `secrets` never appear in its lines, wherever they come from, error messages included. */
export function createLogger(level: Config["logLevel"], secrets: readonly string[], output: LogOutput): Logger {
  const destination: DestinationStream = {
    write(line) {
      // Cut from the line as it is written: within JSON a secret of digits alone may have been a number.
      output.write(cutSecrets(output.isTTY ? readableLine(line) : line, secrets));
    },
  };
  return pino({ level, base: null, timestamp: stdTimeFunctions.isoTime }, destination);
}

/** What must not be written anywhere: keys, signing secrets and the passwords inside URLs. */
export function secretsOf(config: Config): readonly string[] {
  const passwords = [config.databaseUrl, config.redisUrl].flatMap(passwordsOf);
  const key = [config.stripeSecretKey, config.clientToken, config.opsToken].filter((secret) => secret !== undefined);
  const headers = config.otlpHeaders.map(([, value]) => value).filter((value) => value !== "");
  return [
    ...new Set([...key, ...headers, ...config.stripeWebhookSecrets, ...config.stripeThinWebhookSecrets, ...passwords]),
  ];
}

/** A URL's passwords, as it writes them and as they are. Postgres takes one as a parameter too. */
function passwordsOf(text: string | undefined): string[] {
  if (text === undefined || !URL.canParse(text)) return [];
  const { password, search } = new URL(text);
  const written = [password, ...[...search.matchAll(/[?&](?:ssl)?password=([^&]*)/g)].map(([, value = ""]) => value)];
  return written.filter((value) => value !== "").flatMap((value) => [value, decoded(value)]);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function cutSecrets(text: string, secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) {
    // Inside a JSON line a secret stands escaped.
    if (clean.includes(secret)) clean = clean.replaceAll(secret, CUT);
    clean = clean.replaceAll(JSON.stringify(secret).slice(1, -1), CUT);
  }
  return clean;
}

/**
 * "12:03:04.567 WARN message key=value", with an error's stack on the lines after. What callers sent stands in fields and errors: it writes
 * no line of its own, and steers no terminal.
 */
function readableLine(line: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const values = Object.entries(fields).map(([key, value]) => {
    return ` ${key}=${harmless(typeof value === "string" ? value : JSON.stringify(value))}`;
  });
  const name = LEVELS.get(Number(level)) ?? String(level);
  const stack =
    err === undefined
      ? ""
      : errorText(err)
          .split("\n")
          .map((text) => `\n    ${harmless(text)}`)
          .join("");
  return `${String(time).slice(11, 23)} ${name.padEnd(5)} ${harmless(String(msg ?? ""))}${values.join("")}${stack}\n`;
}

/** Control characters, line separators and those that turn the direction of text, written as JSON would. */
function harmless(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

function errorText(err: unknown): string {
  if (typeof err === "object" && err !== null && "stack" in err) return String(err.stack);
  return typeof err === "string" ? err : JSON.stringify(err);
}

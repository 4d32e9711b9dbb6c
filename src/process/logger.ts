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
      const text = cutSecrets(line, secrets);
      output.write(output.isTTY ? readableLine(text) : text);
    },
  };
  return pino({ level, base: null, timestamp: stdTimeFunctions.isoTime }, destination);
}

/** What must not be written anywhere: keys, signing secrets and the passwords inside URLs. */
export function secretsOf(config: Config): readonly string[] {
  const passwords = [config.databaseUrl, config.redisUrl].flatMap((url) => {
    const password = url !== undefined && URL.canParse(url) ? new URL(url).password : "";
    return password === "" ? [] : [password, decodeURIComponent(password)];
  });
  const key = [config.stripeSecretKey, config.clientToken, config.opsToken].filter((secret) => secret !== undefined);
  const headers = config.otlpHeaders.map(([, value]) => value).filter((value) => value !== "");
  return [
    ...new Set([...key, ...headers, ...config.stripeWebhookSecrets, ...config.stripeThinWebhookSecrets, ...passwords]),
  ];
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

/** "12:03:04.567 WARN message key=value", with an error's stack on the lines after. */
function readableLine(line: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const values = Object.entries(fields).map(([key, value]) => {
    return ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`;
  });
  const name = LEVELS.get(Number(level)) ?? String(level);
  const stack = err === undefined ? "" : `\n    ${errorText(err).replaceAll("\n", "\n    ")}`;
  return `${String(time).slice(11, 23)} ${name.padEnd(5)} ${String(msg ?? "")}${values.join("")}${stack}\n`;
}

function errorText(err: unknown): string {
  if (typeof err === "object" && err !== null && "stack" in err) return String(err.stack);
  return typeof err === "string" ? err : JSON.stringify(err);
}

// Settings of the traces. The names that OpenTelemetry has for a thing are kept.
import { optionalUrl, type Setting, SettingProblem } from "./setting.ts";

export const TRACE_SETTINGS = {
  otlpEndpoint: optionalUrl({
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    meaning: "Where OpenTelemetry traces go, by OTLP over HTTP (JSON); `/v1/traces` is added.",
    defaultText: "nothing is traced, at no cost",
    schemes: ["http:", "https:"],
    whenToChange: "when you collect traces",
    secret: false,
  }),
  otlpHeaders: {
    env: "OTEL_EXPORTER_OTLP_HEADERS",
    meaning: "Headers for that endpoint, such as its credentials.",
    fallback: [] as readonly (readonly [string, string])[],
    defaultText: "none",
    range: "name=value, comma-separated; values percent-encoded",
    whenToChange: "when your collector asks for them",
    secret: true,
    parse: parseHeaders,
  } satisfies Setting<readonly (readonly [string, string])[]>,
  traceRatio: {
    env: "METERING_TRACE_RATIO",
    meaning:
      "Share of calls without a trace of their own that is traced. What a caller traces (`traceparent`, sampled) is traced here too.",
    fallback: 0.01,
    defaultText: "0.01",
    range: "0..1",
    whenToChange: "0 where callers decide; up while looking into something",
    secret: false,
    parse: parseRatio,
  } satisfies Setting<number>,
};

function parseHeaders(value: string): readonly (readonly [string, string])[] {
  const headers = value.split(",").map((header) => /^\s*([\w.-]+)=(\S*)\s*$/.exec(header));
  try {
    return headers.map((match) => {
      if (match === null) throw new URIError("no header");
      return [match[1] ?? "", decodeURIComponent(match[2] ?? "")] as const;
    });
  } catch {
    throw new SettingProblem("must be name=value, separated by commas, values percent-encoded");
  }
}

function parseRatio(value: string): number {
  if (/^(0(\.\d{1,9})?|1(\.0{1,9})?)$/.test(value)) return Number(value);
  throw new SettingProblem("must be a number, 0..1, such as 0.01");
}

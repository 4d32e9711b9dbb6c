// The settings of who may call, and how connections are kept private.
import {
  choice,
  duration,
  optionalPath,
  optionalText,
  PORT_KINDS,
  parseBoolean,
  portList,
  type Setting,
  SettingProblem,
} from "./setting.ts";

/** A part of SETTINGS, in the order of the documentation. */
export const ACCESS_SETTINGS = {
  auth: choice({
    env: "METERING_AUTH",
    meaning: "Who may call. `tokens`: whoever shows one of `metering tokens`. `none`: everybody who reaches the ports.",
    fallback: "none",
    words: ["none", "tokens"],
    whenToChange: "`tokens` always in production",
  }),
  clientToken: optionalText({
    env: "METERING_TOKEN",
    meaning: "What `metering replay` shows to the service that it calls: a token with the scopes record and read.",
    defaultText: "none",
    range: "one of `metering tokens create`, or a dashboard's",
    pattern: /^[\w.-]{1,2048}$/,
    whenToChange: "when that service has METERING_AUTH=tokens",
    secret: true,
  }),
  opsToken: optionalText({
    env: "METERING_OPS_TOKEN",
    meaning:
      "Bearer token that `/metrics` asks for, and that `/readyz` tells a component's failure to. `/livez` and `/readyz` themselves answer probes without.",
    defaultText: "none: whoever reaches OPS_PORT reads all of it",
    range: "16..2048 of A-Z a-z 0-9 . _ ~ + / = -",
    pattern: /^[\w.~+/=-]{16,2048}$/,
    whenToChange: "always in production, unless the network or mutual TLS keeps OPS_PORT to those who may",
    secret: true,
  }),
  accessStaleMaxMs: duration({
    env: "METERING_ACCESS_STALE_MAX",
    meaning:
      "For how long known tokens are good while Postgres is away; after it calls get UNAVAILABLE. Nothing can be revoked in that time.",
    fallback: "1h",
    min: "10s",
    max: "24h",
    whenToChange: "up to go on recording through longer outages with Redis",
  }),
  grpcReflection: {
    ...choice({
      env: "METERING_GRPC_REFLECTION",
      meaning: "`true`: tell whoever reaches GRPC_PORT its services and messages, for tools such as grpcurl.",
      fallback: "false",
      words: ["false", "true"],
      whenToChange: "to explore a service that asks for tokens",
    }),
    fallback: undefined,
    defaultText: "`false` with METERING_AUTH=tokens; else `true`",
    parse: parseBoolean,
  } satisfies Setting<boolean | undefined>,
  tlsCertFile: optionalPath({
    env: "METERING_TLS_CERT",
    meaning: "Certificate and its chain, PEM. Looked at again every 5 seconds; new connections get the new one.",
    whenToChange: "always in production, unless something in front ends TLS",
  }),
  tlsKeyFile: optionalPath({
    env: "METERING_TLS_KEY",
    meaning: "Private key of METERING_TLS_CERT, PEM.",
    whenToChange: "with METERING_TLS_CERT",
  }),
  tlsClientCaFile: optionalPath({
    env: "METERING_TLS_CLIENT_CA",
    meaning:
      "Authorities, PEM: the ports of METERING_MTLS_PORTS then take only clients that show a certificate of one.",
    whenToChange: "for mutual TLS",
  }),
  tlsPorts: portList({
    env: "METERING_TLS_PORTS",
    meaning: "Ports that speak TLS once METERING_TLS_CERT is set.",
    fallback: PORT_KINDS,
    whenToChange: "when probes of OPS_PORT cannot speak TLS, or something in front ends it for a port",
  }),
  mtlsPorts: portList({
    env: "METERING_MTLS_PORTS",
    meaning: "Of those, the ports that ask clients for a certificate once METERING_TLS_CLIENT_CA is set.",
    fallback: ["grpc", "http"],
    whenToChange: "Stripe and browsers have no certificate of yours",
  }),
  corsOrigins: {
    env: "METERING_CORS_ORIGINS",
    meaning: "Origins of pages elsewhere that may call HTTP_PORT from a browser, comma-separated.",
    fallback: [] as readonly string[],
    defaultText: "none",
    range: "0..20 of https://host[:port]",
    whenToChange: "when your own page shows usage by Connect",
    secret: false,
    parse: parseOrigins,
  } satisfies Setting<readonly string[]>,
};

function parseOrigins(value: string): readonly string[] {
  const origins = value.split(",").map((origin) => origin.trim());
  if (origins.length <= 20 && origins.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin))
    return origins;
  throw new SettingProblem("must be 1 to 20 origins, https://host[:port] without a path, separated by commas");
}

// What `metering dev` says when it is up.
import { type Config, servesAdminApi, trustsLoopback } from "./config/parse-config.ts";
import type { ServiceAddresses } from "./service.ts";

export interface DevSummary {
  readonly config: Config;
  readonly addresses: ServiceAddresses;
  readonly postgres: string;
  readonly intake: string;
  /** Undefined: Stripe itself, or STRIPE_API_BASE. */
  readonly simulatorUrl: string | undefined;
  /** Of the calls to paste: the simulated Stripe's demo customer; else an id that waits to be mapped. */
  readonly customerId: string;
}

/** Where everything listens, what is embedded or simulated, and calls to paste. */
export function devBanner(summary: DevSummary): string {
  const { addresses, config } = summary;
  const host = config.host.includes(":") ? `[${config.host}]` : config.host;
  const http = (port: number | undefined, path = "") => (port === undefined ? "off" : `http://${host}:${port}${path}`);
  const lines: [string, string][] = [
    ["gRPC", `${host}:${addresses.grpcPort}`],
    ["Connect", http(addresses.httpPort)],
    ["Dashboard", http(addresses.httpPort, "/")],
    ["Webhooks", http(addresses.webhookPort, "/webhooks/stripe")],
    ["Operations", `${http(addresses.opsPort, "/readyz")} /livez /metrics`],
    ["Postgres", summary.postgres],
    ["Intake", summary.intake],
    ["Stripe", stripeLine(summary)],
    ["Access", accessLine(config)],
  ];
  const url = http(addresses.httpPort);
  return `
metering is up. Ctrl-C stops it and everything it started.

${lines.map(([name, value]) => `  ${name.padEnd(11)} ${value}`).join("\n")}

Record usage (run it twice: the second is a DUPLICATE, counted once), then read it:

${curl(url, "RecordUsage", demoRecord(summary.customerId))}

${curl(url, "GetUsage", { customerId: summary.customerId })}

`;
}

function demoRecord(customerId: string): object {
  const measurements = [
    { meter: "input_tokens", quantity: "1200" },
    { meter: "output_tokens", quantity: "350" },
  ];
  return { record: { idempotencyKey: "try-1", customerId, model: "openai/gpt-5", measurements } };
}

function curl(url: string, method: string, body: unknown): string {
  return `  curl -s ${url}/metering.v1.MeteringService/${method} -H 'content-type: application/json' \\\n    -d '${JSON.stringify(body)}'`;
}

/** Whether strangers are kept out, and by what. */
function accessLine(config: Config): string {
  if (config.auth === "tokens") return 'callers show a token of "metering tokens create"';
  const may = servesAdminApi(config) ? "record, read and void" : "record and read";
  const open = `OPEN, no credentials: whoever reaches these ports may ${may} any customer's usage`;
  if (trustsLoopback(config))
    return `${open}. They are on loopback only: none but this machine's users and programs do`;
  return `${open}. METERING_ALLOW_UNAUTHENTICATED is set: other machines may reach them too`;
}

function stripeLine({ simulatorUrl, config }: DevSummary): string {
  if (simulatorUrl !== undefined)
    return `SIMULATED at ${simulatorUrl}, its page at ${simulatorUrl}/_simulator/: no request reaches Stripe, no money moves`;
  if (config.stripeApiBase !== undefined) return `STRIPE_API_BASE, ${config.stripeApiBase}`;
  const live = /^.k_live_/.test(config.stripeSecretKey ?? "");
  return live ? "LIVE: real customers are billed" : "api.stripe.com, test mode";
}

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
    ["Dashboard", dashboardLine(http(addresses.httpPort, "/"), config)],
    ["Webhooks", http(addresses.webhookPort, "/webhooks/stripe")],
    ["Operations", `${http(addresses.opsPort, "/readyz")} /livez /metrics`],
    ["Postgres", summary.postgres],
    ["Intake", summary.intake],
    ["Stripe", stripeLine(summary)],
    ["Access", accessLine(config)],
  ];
  const url = http(addresses.httpPort);
  const asksForToken = config.auth === "tokens";
  return `
metering is up. Ctrl-C stops it and everything it started.

${lines.map(([name, value]) => `  ${name.padEnd(11)} ${value}`).join("\n")}

Record usage (run it twice: the second is a DUPLICATE, counted once), then read it:
${asksForToken ? `\n${MAKE_TOKEN}\n` : ""}
${curl(url, "RecordUsage", demoRecord(summary.customerId), asksForToken)}

${curl(url, "GetUsage", { customerId: summary.customerId }, asksForToken)}

`;
}

function demoRecord(customerId: string): object {
  const measurements = [
    { meter: "input_tokens", quantity: "1200" },
    { meter: "output_tokens", quantity: "350" },
  ];
  return { record: { idempotencyKey: "try-1", customerId, model: "openai/gpt-5", measurements } };
}

function curl(url: string, method: string, body: unknown, withToken: boolean): string {
  const token = withToken ? ' -H "authorization: Bearer $TOKEN"' : "";
  return `  curl -s ${url}/metering.v1.MeteringService/${method}${token} -H 'content-type: application/json' \\\n    -d '${JSON.stringify(body)}'`;
}

/** It holds within two seconds. */
const MAKE_TOKEN = "  TOKEN=$(npx metering tokens create try --scopes record,read --all-customers | head -1); sleep 2";

function dashboardLine(url: string, { auth }: Config): string {
  return auth === "tokens" ? `${url}, with a link of "metering tokens dashboard --all-customers"` : url;
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

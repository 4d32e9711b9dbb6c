// Stripe: the official SDK and everything that knows its names. This room owns the translation of reports and outcomes; it holds no
// state and decides nothing about retries.
// The client.
import http from "node:http";
import https from "node:https";
import Stripe from "stripe";

export interface StripeClientOptions {
  readonly secretKey: string;
  /** Where Stripe is: a stand-in's address, without a path. Undefined: Stripe itself. */
  readonly apiBase?: URL | undefined;
  /** Most connections; calls beyond wait for one. */
  readonly maxSockets: number;
  /** A call whose socket is silent for so long fails. */
  readonly timeoutMs: number;
}

/** Opens a client that makes exactly one HTTP request a call: the outbox decides about every retry, and must know of every attempt. */
export function openStripe(options: StripeClientOptions): Stripe {
  const { secretKey, apiBase, maxSockets, timeoutMs } = options;
  const insecure = apiBase?.protocol === "http:";
  // The agent's own timeout also covers connecting, which the SDK's does not.
  const agentOptions = { keepAlive: true, maxSockets, timeout: timeoutMs };
  const agent = insecure ? new http.Agent(agentOptions) : new https.Agent(agentOptions);
  return new Stripe(secretKey, {
    ...(apiBase && {
      host: apiBase.hostname,
      port: apiBase.port || (insecure ? 80 : 443),
      protocol: insecure ? "http" : "https",
    }),
    httpClient: new OneRequestClient(Stripe.createNodeHttpClient(agent)),
    maxNetworkRetries: 0,
    timeout: timeoutMs,
    telemetry: false,
  });
}

type HttpClient = InstanceType<typeof Stripe.HttpClient>;

/**
 * Keeps the SDK from sending a request again by itself. It does so once for a closed connection (by the error's code) even with
 * maxNetworkRetries 0; then a first request that was processed and a second that was throttled would look like "not processed".
 */
class OneRequestClient extends Stripe.HttpClient {
  readonly #client: HttpClient;

  constructor(client: HttpClient) {
    super();
    this.#client = client;
  }

  override getClientName(): string {
    return this.#client.getClientName();
  }

  override async makeRequest(...request: Parameters<HttpClient["makeRequest"]>): ReturnType<HttpClient["makeRequest"]> {
    try {
      return await this.#client.makeRequest(...request);
    } catch (cause) {
      if (!isClosedConnection(cause)) throw cause;
      throw new Error(`connection closed: ${cause.message}`, { cause });
    }
  }
}

function isClosedConnection(cause: unknown): cause is Error {
  if (!(cause instanceof Error) || !("code" in cause) || typeof cause.code !== "string") return false;
  return Stripe.HttpClient.CONNECTION_CLOSED_ERROR_CODES.includes(cause.code);
}

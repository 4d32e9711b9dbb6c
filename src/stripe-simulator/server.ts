/**
 * A stateful stand-in for Stripe on one HTTP port, in memory, for tests and for running without a Stripe key. The official SDK
 * talks to it: `new Stripe("sk_test_x", { host, port, protocol: "http" })`. It says SIMULATED wherever it shows numbers.
 *
 * It models, as Stripe is documented or was observed to behave:
 * - v1 forms and v2 JSON, keys (401), Request-Id, Stripe-Version; errors in the shape of each; lists with cursors, or by URL.
 * - Idempotency keys. v1: the first answer stands, whatever it was, but for parameters that don't fit. v2: what was done is answered
 *   again for 30 days, what failed is carried out again. Both: 400 on other parameters, 409 while under way.
 * - Customers, products, per-unit prices, webhook endpoints and event destinations, events, thin events.
 * - Meters; meter events on v1 and v2 with every check that is known to be synchronous; identifiers unique over all ways in, for a
 *   rolling 24 h, after which an equal event IS counted again; cancelling adjustments; event summaries, which may lag, each event by
 *   its own draw. Sums are exact inside, JSON numbers outside.
 * - The meter event stream: sessions of 15 minutes, a token that opens nothing else, up to 100 events a request, of which only the
 *   shape is checked. Ten-second windows later duplicates vanish without a word, good events count as received when they were, bad
 *   ones are thrown away, their identifiers gone; two seconds after that a thin event for each meter, and one for names without,
 *   tells exact counts and a sample.
 * - Subscriptions with periods on their items, renewals, drafts that follow the meter until they finalize (1 h after their webhooks
 *   are answered, 72 h if they aren't), payments that succeed or fail as told, cancellation. What is not counted at finalization,
 *   for one since it still waits to be validated, is on no invoice; what is cancelled after it stays on.
 * - Signed webhooks, with snapshots or thin, retried for three days or as in a sandbox; doubled, late, lost, or signed with a rolled
 *   secret, too, as told (webhooks/delivery-conduct.ts).
 * - Rate limits, live's or a sandbox's, if set. Faults (control/faults.ts), a clock that can be moved, and a control interface under
 *   `/_simulator/`.
 *
 * It does not model: thin twins of snapshot events; tiers, taxes, discounts, credits, prorations, price changes, manual invoices and
 * invoice items, payment retries; search, `expand` (accepted, ignored); dimensions of meters; live mode.
 * A metered-only subscription has no first invoice, unless it is backdated.
 *
 * Where Stripe's behaviour is not known, the reading is the one that is harder on a client. v2 takes an event of an unknown customer
 * and reports it later. The stream answers a used Idempotency-Key again without a look at the events. A streamed event must not be
 * too old when it is validated, nor ahead when it was received.
 *
 * With a data file, every command that was carried out is in it before it is answered, and is carried out again at the next start: the
 * account, its ids and its saved answers survive a SIGKILL. Faults and webhook attempts under way do not.
 */

import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { handleControl } from "./control/control-routes.ts";
import { type Fault, Faults } from "./control/faults.ts";
import { reset, send } from "./http/exchange.ts";
import { Gateway } from "./http/gateway.ts";
import { type ExchangeListener, RecordingResponse } from "./http/recorded-exchange.ts";
import { StripeError } from "./http/stripe-error.ts";
import { accountRouter } from "./routes.ts";
import { type Listener, StripeSimulator } from "./simulator.ts";
import { SimulatorClock, type TimeSource } from "./state/clock.ts";
import { Engine, simulatedFailure } from "./state/engine.ts";
import { seededRandom } from "./state/random.ts";
import type { SettingsChange } from "./state/settings.ts";
import type { ConfiguredEndpoint } from "./webhooks/endpoints.ts";

export type { RecordedExchange } from "./http/recorded-exchange.ts";
export type { StripeSimulator } from "./simulator.ts";

export interface StripeSimulatorOptions {
  /** Default 0: any free port. */
  readonly port?: number | undefined;
  /** Default 127.0.0.1. */
  readonly host?: string | undefined;
  /** Secret keys accepted. Default: anything that begins with `sk_test_` or `rk_test_`. */
  readonly apiKeys?: readonly string[] | undefined;
  /** Milliseconds since the epoch. Default: the system's clock. The control interface can move time on from it. */
  readonly clock?: TimeSource | undefined;
  /** Makes ids and drawn faults repeatable. Default: a new one; a data file keeps its first. */
  readonly seed?: string | undefined;
  /** Endpoints that get events from the start, beside those created through the API. */
  readonly webhookEndpoints?: readonly ConfiguredEndpoint[] | undefined;
  /** The journal. Default: nothing survives a restart. One process at a time. */
  readonly dataFile?: string | undefined;
  /** What differs from DEFAULT_SETTINGS. */
  readonly settings?: SettingsChange | undefined;
  readonly faults?: readonly Fault[] | undefined;
  /** How long a webhook receiver may take. Default 10 000. */
  readonly webhookTimeoutMs?: number | undefined;
  /** To the first retry of a webhook, by the simulator's time; doubled each time, an hour at most. Default 1 000. Not in a sandbox. */
  readonly webhookRetryMs?: number | undefined;
  /** Hears of every request to Stripe's API with its answer: a request log. Not of the control interface. Default: none. */
  readonly onExchange?: ExchangeListener | undefined;
  /** Hears of errors in the simulator itself, which are answered with 500. Default: they go to stderr. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

const KEEP_ALIVE_MS = 65_000;

/** Starts a simulator. Rejects when the port is taken or the data file is no journal. */
export async function startStripeSimulator(options: StripeSimulatorOptions = {}): Promise<StripeSimulator> {
  const wallMs = options.clock ?? Date.now;
  const seed = options.seed ?? randomUUID();
  const onError = options.onError ?? ((error) => process.stderr.write(`stripe-simulator: ${String(error)}\n`));
  const clock = new SimulatorClock(wallMs);
  const router = accountRouter();
  const engine = await Engine.open(router, clock, seed, options.dataFile);
  const faults = new Faults(seededRandom(`${seed} faults`));
  for (const fault of options.faults ?? []) faults.add(fault);
  const random = seededRandom(`${seed} requests ${engine.nowMs()}`);
  const gateway = new Gateway({ engine, router, faults, random, apiKeys: options.apiKeys });
  const started = Promise.withResolvers<StripeSimulator>();
  const listener = await listen(options.port ?? 0, options.host ?? "127.0.0.1", async (request, response) => {
    await serve(await started.promise, { gateway, onError, onExchange: options.onExchange }, request, response);
  });
  const simulator = new StripeSimulator({
    listener,
    engine,
    clock,
    faults,
    gateway,
    draw: (about) => seededRandom(`${seed} ${about}`)(),
    wallMs,
    webhookTimeoutMs: options.webhookTimeoutMs ?? 10_000,
    webhookRetryMs: options.webhookRetryMs ?? 1_000,
    onError,
  });
  await simulator.start(options.settings ?? {}, options.webhookEndpoints ?? []);
  started.resolve(simulator);
  return simulator;
}

interface Serving {
  readonly gateway: Gateway;
  readonly onError: (error: unknown) => void;
  readonly onExchange: ExchangeListener | undefined;
}

async function serve(
  simulator: StripeSimulator,
  { gateway, onError, onExchange }: Serving,
  request: IncomingMessage,
  response: RecordingResponse,
): Promise<void> {
  const [path = "/", query = ""] = (request.url ?? "/").split("?", 2);
  try {
    if (path.startsWith("/_simulator")) {
      await handleControl(simulator, request, response, path, query);
    } else {
      if (onExchange !== undefined) response.record(path, query, onExchange, onError);
      await gateway.handle(request, response, path, query);
    }
    simulator.tick();
  } catch (error) {
    const canAnswer = !response.headersSent && !response.destroyed;
    if (canAnswer && error instanceof StripeError) {
      send(response, error.answerTo(path));
    } else if (canAnswer && request.complete) {
      onError(error);
      send(response, simulatedFailure(500, path));
    } else {
      // The caller hung up in the middle of its request, or has half an answer: there is nobody to tell.
      reset(response);
    }
  }
}

type Handler = (request: IncomingMessage, response: RecordingResponse) => Promise<void>;

function listen(port: number, host: string, handle: Handler): Promise<Listener> {
  const server = createServer({ ServerResponse: RecordingResponse }, (request, response) => {
    void handle(request, response as RecordingResponse);
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const { port: bound } = server.address() as AddressInfo;
      resolve({
        url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
        port: bound,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}

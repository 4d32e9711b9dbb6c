// What stands before the account: keys, idempotency, requests under way, and the faults between a client and Stripe.
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { Fault, Faults } from "../control/faults.ts";
import { type Command, type Engine, type Outcome, simulatedFailure } from "../state/engine.ts";
import { type Answer, keyInUse } from "../state/idempotency.ts";
import { opaqueToken, type RandomSource } from "../state/random.ts";
import type { MeterEventFate } from "../usage/async-validation.ts";
import { METER_EVENT_PATHS, STREAM_PATH } from "../usage/meter-event-paths.ts";
import { checkSession, sessionExpired } from "../usage/meter-event-session.ts";
import { API_VERSION } from "../webhooks/snapshot-event.ts";
import { readBody, reset, send, sendText, sendTruncated } from "./exchange.ts";
import { decodeForm } from "./form.ts";
import { RateLimiter } from "./rate-limiter.ts";
import type { Router } from "./router.ts";
import { rateLimited, StripeError, unauthorized, unknownRoute } from "./stripe-error.ts";
import { decodeJson, isV2 } from "./v2.ts";

/** Stripe refuses meter events of one customer and meter at the same time; `holdMs` makes each take that long. */
export interface MeterConcurrency {
  readonly enabled: boolean;
  readonly holdMs: number;
}

export interface GatewayContext {
  readonly engine: Engine;
  readonly router: Router;
  readonly faults: Faults;
  readonly random: RandomSource;
  /** Keys accepted; undefined: any test key. */
  readonly apiKeys: readonly string[] | undefined;
}

/** Serves Stripe's API. */
export class Gateway {
  /** Answers given so far: by route (`POST /v1/customers`) and status, `reset` for none. */
  readonly answered: Record<string, Record<string, number>> = {};
  meterConcurrency: MeterConcurrency = { enabled: false, holdMs: 0 };
  readonly #context: GatewayContext;
  readonly #limiter = new RateLimiter();
  /** Idempotency keys, and customers with meters, that a request is under way for. */
  readonly #underWay = new Set<string>();
  readonly #inHand = new Set<Promise<void>>();

  constructor(context: GatewayContext) {
    this.#context = context;
  }

  async handle(request: IncomingMessage, response: ServerResponse, path: string, query: string): Promise<void> {
    const handling = this.#handle(request, response, path, query);
    this.#inHand.add(handling);
    try {
      await handling;
    } finally {
      this.#inHand.delete(handling);
    }
  }

  /** Resolves once no request is in hand, also none whose caller has hung up. */
  async settled(): Promise<void> {
    while (this.#inHand.size > 0) await Promise.allSettled(this.#inHand);
  }

  async #handle(request: IncomingMessage, response: ServerResponse, path: string, query: string): Promise<void> {
    const method = request.method ?? "GET";
    const requestId = `req_${opaqueToken(String(this.#context.random())).slice(0, 14)}`;
    response.setHeader("request-id", requestId);
    response.setHeader("stripe-version", request.headers["stripe-version"] ?? API_VERSION);
    const pattern = this.#context.router.match(method, path)?.route.pattern ?? path;
    const route = `${method} ${pattern}`;
    try {
      const body = await readBody(request);
      this.#authenticate(path, request.headers.authorization);
      const { engine } = this.#context;
      this.#limiter.check(engine.account.settings.rateLimits, path, body, engine.nowMs());
      const fault = this.#context.faults.draw(method, pattern);
      const { status } = await this.#serve({ request, response, method, path, query, body, requestId, fault });
      this.#count(route, status);
    } catch (error) {
      if (!(error instanceof StripeError)) throw error;
      send(response, error.answerTo(path));
      this.#count(route, String(error.status));
    }
  }

  async #serve(exchange: Exchange): Promise<{ readonly status: string }> {
    const { response, fault } = exchange;
    const refusal = refusalOf(fault);
    if (refusal !== undefined) throw refusal;
    if (fault?.kind === "reset_before") {
      reset(response);
      return { status: "reset" };
    }
    if (fault?.kind === "bad_gateway" && fault.processed !== true) return badGateway(response);
    const locks = this.#lock(exchange);
    try {
      if (fault?.kind === "slow_processing") await delay(fault.delayMs ?? 1_000);
      const outcome = await this.#process(exchange);
      if (fault?.kind === "slow_answer") await delay(fault.delayMs ?? 1_000);
      if (locks.length > 0 && this.meterConcurrency.holdMs > 0) await delay(this.meterConcurrency.holdMs);
      return this.#answer(exchange, outcome);
    } finally {
      for (const lock of locks) this.#underWay.delete(lock);
    }
  }

  async #process(exchange: Exchange): Promise<Outcome> {
    const { engine } = this.#context;
    const { method, path, query, fault } = exchange;
    if (method !== "POST" && method !== "DELETE") return engine.read(method, path, query);
    const command = commandOf(exchange);
    const replay = engine.replayFor(command);
    if (replay !== undefined) return replay;
    if (fault?.kind === "server_error" && fault.processed !== true && fault.saved !== true) {
      return { ...simulatedFailure(fault.status ?? 500, path), isReplay: false };
    }
    return engine.perform(command);
  }

  #answer({ request, response, fault }: Exchange, outcome: Outcome): { readonly status: string } {
    const key = request.headers["idempotency-key"];
    if (key !== undefined) response.setHeader("idempotency-key", key);
    if (outcome.isReplay) response.setHeader("idempotent-replayed", "true");
    if (fault?.kind === "reset_after") {
      reset(response);
      return { status: "reset" };
    }
    if (fault?.kind === "bad_gateway") return badGateway(response);
    if (fault?.kind === "truncated") {
      sendTruncated(response, outcome);
      return { status: "truncated" };
    }
    send(response, outcome);
    return { status: String(outcome.status) };
  }

  /** The stream wants a session's token and nothing else, all other routes a secret key. */
  #authenticate(path: string, header: string | undefined): void {
    const key = /^Bearer (\S+)$/.exec(header ?? "")?.[1];
    if (key === undefined) throw unauthorized(undefined);
    const { apiKeys, engine } = this.#context;
    if (path === STREAM_PATH) {
      checkSession(engine.account, key, engine.nowMs());
      return;
    }
    const isKnown = apiKeys === undefined ? /^[sr]k_test_\w+$/.test(key) : apiKeys.includes(key);
    if (!isKnown) throw unauthorized(key);
  }

  /** Claims what only one request may have under way. Throws 409 when another has it. */
  #lock({ request, method, path, body }: Exchange): readonly string[] {
    const locks: string[] = [];
    const key = request.headers["idempotency-key"];
    if (typeof key === "string" && method !== "GET") {
      if (this.#underWay.has(`key ${key}`)) throw keyInUse(key);
      locks.push(`key ${key}`);
    }
    if (this.meterConcurrency.enabled && method === "POST" && METER_EVENT_PATHS.includes(path)) {
      const lock = `meter ${this.#meterAndCustomer(isV2(path) ? decodeJson(body) : decodeForm(body))}`;
      if (this.#underWay.has(lock)) {
        throw new StripeError(409, "Cannot create multiple usage events for the same customer, meter concurrently", {
          code: "too_many_concurrent_requests",
        });
      }
      locks.push(lock);
    }
    for (const lock of locks) this.#underWay.add(lock);
    return locks;
  }

  #meterAndCustomer(sent: unknown): string {
    const eventName = memberOf(sent, "event_name");
    const meter = this.#context.engine.account.meterByEventName(String(eventName));
    const customerKey = meter?.customer_mapping.event_payload_key ?? "stripe_customer_id";
    return JSON.stringify([eventName, memberOf(memberOf(sent, "payload"), customerKey)]);
  }

  #count(route: string, status: string): void {
    const counts = this.answered[route] ?? {};
    this.answered[route] = counts;
    counts[status] = (counts[status] ?? 0) + 1;
  }
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly body: string;
  readonly requestId: string;
  readonly fault: Fault | undefined;
}

function commandOf({ request, method, path, query, body, requestId, fault }: Exchange): Command {
  const key = request.headers["idempotency-key"];
  const isJson = isV2(path) || request.headers["content-type"]?.startsWith("application/json") === true;
  return {
    method: method === "DELETE" ? "DELETE" : "POST",
    path,
    body: method === "DELETE" && body === "" ? query : body,
    isJson,
    requestId,
    idempotencyKey: typeof key === "string" ? key : undefined,
    failure:
      fault?.kind === "server_error"
        ? { status: fault.status ?? 500, processed: fault.processed ?? false, saved: fault.saved ?? false }
        : undefined,
    fate: fateOf(fault),
  };
}

function fateOf(fault: Fault | undefined): MeterEventFate | undefined {
  if (fault?.kind === "dropped") return { kind: "dropped", events: fault.events, burnt: fault.burnt ?? false };
  if (fault?.kind !== "rejected") return undefined;
  return { kind: "rejected", events: fault.events, code: fault.code ?? "meter_event_customer_not_found" };
}

/** The answer of a fault that refuses without processing. */
function refusalOf(fault: Fault | undefined): StripeError | undefined {
  if (fault?.kind === "rate_limited") return rateLimited(fault.reason, fault.shouldRetry);
  if (fault?.kind === "lock_timeout") {
    return new StripeError(
      429,
      "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. " +
        "If you see this error intermittently, retry the request.",
      { code: "lock_timeout", headers: { "stripe-should-retry": "true" } },
    );
  }
  if (fault?.kind === "conflict") {
    return new StripeError(409, "The request conflicts with another one under way.", { type: "api_error" });
  }
  if (fault?.kind === "forbidden") {
    return new StripeError(
      403,
      "The provided key does not have the required permissions for this endpoint. " +
        "Having another permission would allow this request to continue.",
    );
  }
  if (fault?.kind === "session_expired") return sessionExpired();
  return undefined;
}

function badGateway(response: ServerResponse): { readonly status: string } {
  sendText(
    response,
    502,
    "text/html",
    "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>",
  );
  return { status: "502" };
}

/** 404 in Stripe's shape, for callers outside the gateway. */
export function notFound(method: string, path: string): Answer {
  return unknownRoute(method, path).answerTo(path);
}

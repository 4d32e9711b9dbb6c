// The control interface over HTTP: JSON under /_simulator/, the same controls that tests have in process.
import type { IncomingMessage, ServerResponse } from "node:http";
import { z } from "zod";
import { readBody, send, sendText } from "../http/exchange.ts";
import { notFound } from "../http/gateway.ts";
import { badRequest } from "../http/stripe-error.ts";
import type { StripeSimulator } from "../simulator.ts";
import { settingsSchema } from "../state/settings.ts";
import { conductSchema } from "../webhooks/delivery-conduct.ts";
import { faultSchema } from "./faults.ts";

type Control = (simulator: StripeSimulator, body: unknown, query: URLSearchParams, id: string) => unknown;

const clockBody = z.union([
  z.strictObject({ advance_ms: z.number().min(0) }),
  z.strictObject({ now_ms: z.number(), frozen: z.boolean().optional() }),
]);
const rollBody = z.strictObject({ secret: z.string().optional(), keep_ms: z.number().optional() });
const releaseBody = z.strictObject({ order: z.enum(["created", "reversed", "shuffled"]).optional() });
const statusBody = z.strictObject({
  status: z.enum(["active", "past_due", "canceled", "unpaid", "trialing", "paused"]),
});
const paymentsBody = z.strictObject({ outcome: z.enum(["succeed", "fail"]), customer: z.string().optional() });
const concurrencyBody = z.strictObject({ enabled: z.boolean(), holdMs: z.number().int().min(0).max(60_000) });

/** By method and path; `:id` stands for one segment. */
const CONTROLS: Readonly<Record<string, Control>> = {
  "GET /_simulator/state": (simulator) => simulator.state(),
  "GET /_simulator/meter_events": (simulator, _body, query) => ({
    data: simulator.meterEvents({
      customer: query.get("customer") ?? undefined,
      event_name: query.get("event_name") ?? undefined,
      identifier: query.get("identifier") ?? undefined,
    }),
  }),
  "POST /_simulator/clock": async (simulator, body) => {
    const asked = checked(clockBody, body);
    if ("advance_ms" in asked) await simulator.advanceClock(asked.advance_ms);
    else await simulator.setClock(asked.now_ms, asked.frozen ?? false);
    return { now_ms: simulator.nowMs() };
  },
  "GET /_simulator/faults": (simulator) => simulator.state().faults,
  "POST /_simulator/faults": (simulator, body) => {
    for (const fault of checked(z.union([z.array(faultSchema), faultSchema.transform((one) => [one])]), body)) {
      simulator.addFault(fault);
    }
    return simulator.state().faults;
  },
  "DELETE /_simulator/faults": (simulator) => {
    simulator.clearFaults();
    return simulator.state().faults;
  },
  "POST /_simulator/meter_concurrency": (simulator, body) => {
    const concurrency = checked(concurrencyBody, body);
    simulator.setMeterConcurrency(concurrency);
    return concurrency;
  },
  "POST /_simulator/settings": (simulator, body) => simulator.setSettings(checked(settingsSchema.partial(), body)),
  "POST /_simulator/subscriptions/:id": (simulator, body, _query, id) =>
    simulator.setSubscriptionStatus(id, checked(statusBody, body).status),
  "POST /_simulator/payments": (simulator, body) => {
    const { outcome, customer } = checked(paymentsBody, body);
    return simulator.setPayments(outcome, customer);
  },
  "POST /_simulator/invoices/:id/pay": (simulator, _body, _query, id) => simulator.payInvoice(id),
  "POST /_simulator/invoices/:id/fail": (simulator, _body, _query, id) => simulator.failInvoice(id),
  "POST /_simulator/webhooks": (simulator, body) => {
    simulator.configureWebhooks(checked(conductSchema, body));
    return simulator.state().deliveries.conduct;
  },
  "POST /_simulator/webhooks/release": async (simulator, body) => {
    await simulator.releaseWebhooks(checked(releaseBody, body).order);
    return { attempts: simulator.deliveryAttempts };
  },
  "POST /_simulator/webhook_endpoints/:id/roll_secret": (simulator, body, _query, id) => {
    const { secret, keep_ms: keepMs } = checked(rollBody, body);
    return simulator.rollWebhookSecret(id, { secret, keepMs });
  },
  "POST /_simulator/events/:id/resend": async (simulator, _body, _query, id) => ({
    statuses: await simulator.resendEvent(id),
  }),
};

/** All of them, as in `POST /_simulator/clock`. */
export const CONTROL_ROUTES: readonly string[] = Object.keys(CONTROLS);

/** Serves one request under /_simulator/. Errors have Stripe's shape. */
export async function handleControl(
  simulator: StripeSimulator,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  query: string,
): Promise<void> {
  const method = request.method ?? "GET";
  const text = await readBody(request);
  if (method === "GET" && (path === "/_simulator/" || path === "/_simulator")) {
    sendText(response, 200, "text/html; charset=utf-8", simulator.page());
    return;
  }
  const [, , kind = "", id = "", step] = path.split("/");
  const control =
    CONTROLS[`${method} ${path}`] ??
    CONTROLS[`${method} /_simulator/${kind}/:id${step === undefined ? "" : `/${step}`}`];
  if (control === undefined) {
    send(response, notFound(method, path));
    return;
  }
  const body = await control(simulator, parse(text), new URLSearchParams(query), id);
  send(response, { status: 200, headers: {}, body: JSON.stringify(body) });
}

function parse(text: string): unknown {
  try {
    return text === "" ? {} : JSON.parse(text);
  } catch {
    throw badRequest("The body is not JSON.");
  }
}

function checked<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (!result.success) throw badRequest(z.prettifyError(result.error));
  return result.data;
}

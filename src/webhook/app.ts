// The webhook endpoint: POST /webhooks/stripe for snapshot events, POST /webhooks/stripe/thin for thin ones, and nothing else. Proves that
// a delivery is Stripe's, stores it, answers.
import express, { type ErrorRequestHandler, type Express, type Request, type Response } from "express";
import type { StripeEventInbox, WebhookVerifier } from "../app/ports/accounts.ts";
import type { Logger } from "../app/ports/logger.ts";
import { type EventForm, parseEvent } from "./event-envelope.ts";

export const WEBHOOK_PATH = "/webhooks/stripe";
/** Of a destination of thin events: Stripe makes those apart, with a secret of their own. */
export const THIN_WEBHOOK_PATH = "/webhooks/stripe/thin";

const PATHS: Readonly<Record<EventForm, string>> = { snapshot: WEBHOOK_PATH, thin: THIN_WEBHOOK_PATH };

/** How a delivery ended. ignored: of a type that nothing here is interested in. */
export type DeliveryOutcome = "stored" | "duplicate" | "ignored" | "refused" | "failed";

export interface WebhookAppOptions {
  readonly inbox: StripeEventInbox;
  readonly verifier: WebhookVerifier;
  /** Of thin events; undefined where no secret of theirs is known: then their path is not there. */
  readonly thinVerifier: WebhookVerifier | undefined;
  /**
   * Types worth storing. Others get 200 too, so that Stripe does not send them again, but are not stored: an account may send its
   * every charge here, and a table that grows with rows nobody reads is no log of anything. Stripe itself lists events for 30 days.
   */
  readonly storedTypes: ReadonlySet<string>;
  /** Largest body in bytes. */
  readonly bodyMaxBytes: number;
  /** Called after an event was stored, so that the worker looks at once. */
  readonly onStored: () => void;
  /** Called once a request, for the metrics. */
  readonly onDelivery: (outcome: DeliveryOutcome) => void;
  readonly logger: Logger;
}

/** What goes wrong by the sender's doing: the one table to HTTP. */
const REFUSALS = {
  signature_missing: [400, "the Stripe-Signature header is missing"],
  signature_invalid: [400, "no current secret signed this body"],
  timestamp_too_old: [400, "signed more than 300 s ago"],
  timestamp_in_future: [400, "signed for more than 300 s ahead: check this machine's clock"],
  body_invalid: [400, "the body is not an event of Stripe's"],
  body_incomplete: [400, "the body ended early"],
  not_found: [404, `there is nothing here; webhooks go to ${WEBHOOK_PATH}`],
  method_not_allowed: [405, "only POST is allowed here"],
  body_too_large: [413, "the body is larger than this endpoint takes"],
  content_type_unsupported: [415, "the body must be application/json, not compressed"],
} as const satisfies Record<string, readonly [number, string]>;

type Refusal = keyof typeof REFUSALS;

/** Errors of body-parser, by its `type`. */
const BODY_ERRORS: Readonly<Record<string, Refusal>> = {
  "entity.too.large": "body_too_large",
  "encoding.unsupported": "content_type_unsupported",
  "request.size.invalid": "body_incomplete",
  "request.aborted": "body_incomplete",
};

export function webhookApp(options: WebhookAppOptions): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.enable("strict routing");
  app.enable("case sensitive routing");
  // A signature covers bytes, so the body stays as it came; inflating one that nobody has proven to be Stripe's would be a gift.
  const readBody = express.raw({ type: () => true, limit: options.bodyMaxBytes, inflate: false });
  const addRoute = (form: EventForm, verifier: WebhookVerifier) =>
    app
      .route(PATHS[form])
      .post(
        (request, response, next) => {
          if (isJson(request.headers["content-type"])) next();
          else refuse(options, response, "content_type_unsupported");
        },
        readBody,
        (request, response) => receive(options, form, verifier, request, response),
      )
      .all((_, response) => {
        response.set("Allow", "POST");
        refuse(options, response, "method_not_allowed");
      });
  addRoute("snapshot", options.verifier);
  if (options.thinVerifier !== undefined) addRoute("thin", options.thinVerifier);
  app.use((_, response) => refuse(options, response, "not_found"));
  app.use(toResponse(options));
  return app;
}

/** Answers only after the event is on disk: what was answered 200 is never sent again. A rejection becomes a 500, and Stripe resends. */
async function receive(
  options: WebhookAppOptions,
  form: EventForm,
  verifier: WebhookVerifier,
  request: Request,
  response: Response,
): Promise<void> {
  const { inbox, storedTypes, logger } = options;
  const rawBody: Buffer = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  const header = request.headers["stripe-signature"];
  const refusal = verifier.refusal(rawBody, Array.isArray(header) ? header.join(",") : header);
  if (refusal !== undefined) return refuse(options, response, refusal);
  const event = parseEvent(rawBody);
  if (event === undefined) return refuse(options, response, "body_invalid");
  // Truly Stripe's, at the wrong door: two destinations were mixed up, and the sender's log should say so.
  if (event.form !== form) return refuse(options, response, "body_invalid", wrongDoor(event.form, form));
  const { eventId, type, objectId } = event;
  if (!storedTypes.has(type)) {
    logger.debug({ eventId, type }, "stripe event of no interest");
    options.onDelivery("ignored");
  } else if (await inbox.store(event)) {
    logger.info({ eventId, type, objectId }, "stripe event stored");
    options.onDelivery("stored");
    options.onStored();
  } else options.onDelivery("duplicate");
  response.status(200).json({ received: true });
}

function wrongDoor(came: EventForm, taken: EventForm): string {
  return `this is a ${came} event, and ${PATHS[taken]} takes ${taken} events alone: ${came} events go to ${PATHS[came]}`;
}

function refuse(
  options: WebhookAppOptions,
  response: Response,
  refusal: Refusal,
  message: string = REFUSALS[refusal][1],
): void {
  const [status] = REFUSALS[refusal];
  options.onDelivery("refused");
  options.logger.warn({ refusal, message, from: response.req.socket.remoteAddress }, "webhook request refused");
  response.status(status).json({ error: { reason: refusal, message } });
}

/** What broke: the body, by the sender's doing, or something here. Outside, a failure of ours has no cause; the log has it. */
function toResponse(options: WebhookAppOptions): ErrorRequestHandler {
  return (err: unknown, _request, response, next) => {
    if (response.headersSent) return next(err);
    const refusal = BODY_ERRORS[errorType(err)];
    if (refusal !== undefined) return refuse(options, response, refusal);
    options.onDelivery("failed");
    options.logger.error({ err }, "webhook delivery failed; Stripe sends it again");
    const error = { reason: "not_stored", message: "the event could not be stored; send it again" };
    response.status(500).json({ error });
  };
}

function errorType(err: unknown): string {
  return err instanceof Error && "type" in err && typeof err.type === "string" ? err.type : "";
}

function isJson(contentType: string | undefined): boolean {
  return /^application\/json\s*(;|$)/i.test(contentType ?? "");
}

// Where events go: /v1/webhook_endpoints, and the endpoints given at construction.
import { z } from "zod";
import { flag, mergeMetadata, metadata, params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest, noSuch } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { pagingShape } from "../state/collection.ts";

/** Whether events come with their object as it was, or bare, to be fetched. */
export type EventPayload = "snapshot" | "thin";

/** An endpoint and its secret, which Stripe shows only in the answer to its creation. */
export interface WebhookEndpoint {
  readonly id: string;
  secret: string;
  readonly payload: EventPayload;
  /** The secret before it was rolled, still signed with until then. */
  rolled: { readonly secret: string; readonly untilMs: number } | null;
  readonly created: number;
  updated: number;
  readonly api_version: string | null;
  /** Of those that v2 shows as event destinations; null for those of v1. */
  name: string | null;
  description: string | null;
  enabled_events: readonly string[];
  metadata: Record<string, string>;
  status: "enabled" | "disabled";
  url: string;
}

/** An endpoint given at construction: no id, a secret of the caller's choosing. Without `enabledEvents`, it gets all of its payload. */
export interface ConfiguredEndpoint {
  readonly url: string;
  readonly secret: string;
  /** Default: snapshot. */
  readonly payload?: EventPayload | undefined;
  readonly enabledEvents?: readonly string[] | undefined;
}

const CONFIGURED_PREFIX = "we_configured_";

/** The most time for which Stripe lets a rolled secret live on. */
export const ROLLED_SECRET_MS_MAX = 24 * 3_600_000;

/** Gives an endpoint a new secret; for `keepMs` its deliveries are signed with both. */
export function rollSecret(account: Account, id: string, keepMs: number, secret?: string): WebhookEndpoint {
  const endpoint = account.endpoints.get(id);
  endpoint.rolled = keepMs === 0 ? null : { secret: endpoint.secret, untilMs: account.nowMs + keepMs };
  endpoint.secret = secret ?? account.newId("whsec_");
  return endpoint;
}

/** What a delivery at `nowMs` is signed with, the newest first. */
export function secretsInForce({ secret, rolled }: WebhookEndpoint, nowMs: number): readonly string[] {
  return rolled === null || rolled.untilMs <= nowMs ? [secret] : [secret, rolled.secret];
}

/** `webhook_endpoint`, without its secret. */
export function renderEndpoint(endpoint: WebhookEndpoint): object {
  const { secret: _secret, rolled: _rolled, payload: _payload, name: _name, updated: _updated, ...shown } = endpoint;
  return { ...shown, object: "webhook_endpoint", application: null, livemode: false };
}

/** Makes the configured endpoints exactly these; those created through the API stay. Pending deliveries move to the new secret. */
export function configureEndpoints(account: Account, configured: readonly ConfiguredEndpoint[]): void {
  for (const { id } of [...account.endpoints.values()]) {
    if (id.startsWith(CONFIGURED_PREFIX)) account.endpoints.remove(id);
  }
  for (const [index, { url, secret, payload = "snapshot", enabledEvents }] of configured.entries()) {
    account.endpoints.add({
      id: `${CONFIGURED_PREFIX}${index + 1}`,
      secret,
      payload,
      rolled: null,
      created: account.now,
      updated: account.now,
      api_version: null,
      name: payload === "thin" ? `configured ${index + 1}` : null,
      description: "Given to the simulator at its start",
      enabled_events: enabledEvents ?? ["*"],
      metadata: {},
      status: "enabled",
      url,
    });
  }
  for (const [key, { event, endpoint }] of account.deliveries) {
    const current = account.endpoints.find(endpoint.id);
    if (current === undefined) account.deliveries.delete(key);
    else account.deliveries.set(key, { event, endpoint: current });
  }
}

/** The configured endpoints as they stand. */
export function configuredEndpoints(account: Account): ConfiguredEndpoint[] {
  return [...account.endpoints.values()]
    .filter(({ id }) => id.startsWith(CONFIGURED_PREFIX))
    .map(({ url, secret, payload, enabled_events }) => ({ url, secret, payload, enabledEvents: enabled_events }));
}

/** Throws 400 for what is no http(s) URL. */
export function checkUrl(url: string): void {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw badRequest("Invalid URL: An explicit scheme (such as https) must be provided.", {
      code: "url_invalid",
      param: "url",
    });
  }
}

const createEndpoint = params({
  url: text(),
  enabled_events: z.array(text()).min(1),
  api_version: text().optional(),
  connect: flag().optional(),
  description: text().optional(),
  metadata: metadata(),
});

const updateEndpoint = params({
  url: text().optional(),
  enabled_events: z.array(text()).min(1).optional(),
  description: text().optional(),
  disabled: flag().optional(),
  metadata: metadata(),
});

function create(account: Account, sent: z.infer<typeof createEndpoint>): object {
  checkUrl(sent.url);
  const endpoint = account.endpoints.add({
    id: account.newId("we_"),
    secret: account.newId("whsec_"),
    payload: "snapshot",
    rolled: null,
    created: account.now,
    updated: account.now,
    name: null,
    api_version: sent.api_version ?? null,
    description: sent.description ?? null,
    enabled_events: sent.enabled_events,
    metadata: mergeMetadata({}, sent.metadata),
    status: "enabled",
    url: sent.url,
  });
  return { ...renderEndpoint(endpoint), secret: endpoint.secret };
}

function update(account: Account, id: string, sent: z.infer<typeof updateEndpoint>): object {
  const endpoint = find(account, id);
  if (sent.url !== undefined) checkUrl(sent.url);
  endpoint.url = sent.url ?? endpoint.url;
  endpoint.enabled_events = sent.enabled_events ?? endpoint.enabled_events;
  endpoint.description = sent.description ?? endpoint.description;
  if (sent.disabled !== undefined) endpoint.status = sent.disabled ? "disabled" : "enabled";
  endpoint.metadata = mergeMetadata(endpoint.metadata, sent.metadata);
  return renderEndpoint(endpoint);
}

/** Of v1 only. Throws 404. */
function find(account: Account, id: string): WebhookEndpoint {
  const endpoint = account.endpoints.get(id);
  if (endpoint.name !== null) throw noSuch("webhook endpoint", id);
  return endpoint;
}

/** Takes it away, with everything that it is still to get. */
export function removeEndpoint(account: Account, id: string): void {
  account.endpoints.remove(id);
  for (const [key, delivery] of account.deliveries) if (delivery.endpoint.id === id) account.deliveries.delete(key);
}

export const webhookEndpointRoutes: readonly Route[] = [
  route("POST", "/v1/webhook_endpoints", createEndpoint, (call) => create(call.account, call.params)),
  route("GET", "/v1/webhook_endpoints", params({ ...pagingShape }), ({ account, params: sent }) => {
    const page = account.endpoints.page(sent, "/v1/webhook_endpoints", ({ name }) => name === null);
    return { ...page, data: page.data.map(renderEndpoint) };
  }),
  route("GET", "/v1/webhook_endpoints/:id", params({}), ({ account, path }) =>
    renderEndpoint(find(account, path[0] ?? "")),
  ),
  route("POST", "/v1/webhook_endpoints/:id", updateEndpoint, (call) =>
    update(call.account, call.path[0] ?? "", call.params),
  ),
  route("DELETE", "/v1/webhook_endpoints/:id", params({}), ({ account, path }) => {
    const { id } = find(account, path[0] ?? "");
    removeEndpoint(account, id);
    return { id, object: "webhook_endpoint", deleted: true };
  }),
];

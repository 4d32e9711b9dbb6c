// Where events go, the v2 way: /v2/core/event_destinations, for thin notifications or snapshot events. Webhook endpoints only.
import { z } from "zod";
import { text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest, noSuch } from "../http/stripe-error.ts";
import { toRfc3339, type V2List, v2PageOf, v2PagingShape } from "../http/v2.ts";
import type { Account } from "../state/account.ts";
import { checkUrl, removeEndpoint, type WebhookEndpoint } from "./endpoints.ts";
import { API_VERSION } from "./snapshot-event.ts";

const PATH = "/v2/core/event_destinations";

/** A value of null removes the key. */
const metadata = z.record(z.string().max(40), z.string().max(500).nullable()).optional();
const include = z.array(z.enum(["webhook_endpoint.signing_secret", "webhook_endpoint.url"])).optional();
const target = z.strictObject({ url: text() });

const createDestination = z.strictObject({
  name: text(),
  type: z.literal("webhook_endpoint"),
  event_payload: z.enum(["thin", "snapshot"]),
  enabled_events: z.array(text()).min(1),
  webhook_endpoint: target,
  description: z.string().optional(),
  events_from: z.array(z.literal("@self")).optional(),
  snapshot_api_version: text().optional(),
  metadata,
  include,
});

const updateDestination = z.strictObject({
  name: text().optional(),
  enabled_events: z.array(text()).min(1).optional(),
  webhook_endpoint: target.optional(),
  description: z.string().optional(),
  metadata,
  include,
});

const including = z.strictObject({ include });

/** `v2.core.event_destination`. Its URL is shown on request, its secret never after the answer to its creation. */
function render(one: WebhookEndpoint, included: readonly string[] = [], secret?: string): object {
  const shown = {
    ...(included.includes("webhook_endpoint.url") ? { url: one.url } : {}),
    ...(secret !== undefined && included.includes("webhook_endpoint.signing_secret") ? { signing_secret: secret } : {}),
  };
  return {
    id: one.id,
    object: "v2.core.event_destination",
    created: toRfc3339(one.created * 1_000),
    description: one.description ?? "",
    enabled_events: one.enabled_events,
    event_payload: one.payload,
    events_from: ["@self"],
    livemode: false,
    metadata: one.metadata,
    name: one.name,
    ...(one.payload === "snapshot" ? { snapshot_api_version: one.api_version } : {}),
    status: one.status,
    ...(one.status === "disabled" ? { status_details: { disabled: { reason: "user" } } } : {}),
    type: "webhook_endpoint",
    updated: toRfc3339(one.updated * 1_000),
    webhook_endpoint: shown,
  };
}

function find(account: Account, id: string): WebhookEndpoint {
  const one = account.endpoints.find(id);
  if (one === undefined || one.name === null) throw noSuch("event destination", id);
  return one;
}

function create(account: Account, sent: z.infer<typeof createDestination>): object {
  checkUrl(sent.webhook_endpoint.url);
  if (sent.event_payload === "thin" && sent.snapshot_api_version !== undefined) {
    throw badRequest("Thin events have no snapshot_api_version.");
  }
  const one = account.endpoints.add({
    id: account.newId("ed_test_"),
    secret: account.newId("whsec_"),
    rolled: null,
    payload: sent.event_payload,
    created: account.now,
    updated: account.now,
    api_version: sent.event_payload === "thin" ? null : (sent.snapshot_api_version ?? API_VERSION),
    name: sent.name,
    description: sent.description ?? null,
    enabled_events: sent.enabled_events,
    metadata: merged({}, sent.metadata),
    status: "enabled",
    url: sent.webhook_endpoint.url,
  });
  return render(one, sent.include, one.secret);
}

function update(account: Account, id: string, sent: z.infer<typeof updateDestination>): object {
  const one = find(account, id);
  if (sent.webhook_endpoint !== undefined) checkUrl(sent.webhook_endpoint.url);
  one.url = sent.webhook_endpoint?.url ?? one.url;
  one.name = sent.name ?? one.name;
  one.enabled_events = sent.enabled_events ?? one.enabled_events;
  one.description = sent.description ?? one.description;
  one.metadata = merged(one.metadata, sent.metadata);
  one.updated = account.now;
  return render(one, sent.include);
}

function merged(before: WebhookEndpoint["metadata"], change: z.infer<typeof metadata>): WebhookEndpoint["metadata"] {
  const all = Object.entries({ ...before, ...change });
  return Object.fromEntries(all.flatMap(([key, value]) => (value === null ? [] : [[key, value]])));
}

function setStatus(account: Account, id: string, status: WebhookEndpoint["status"]): object {
  const one = find(account, id);
  one.status = status;
  one.updated = account.now;
  return render(one);
}

const listDestinations = z.strictObject({ ...v2PagingShape, include });

function list(account: Account, sent: z.infer<typeof listDestinations>): V2List<object> {
  const all = [...account.endpoints.values()].filter(({ name }) => name !== null).reverse();
  const query = (sent.include ?? []).map((field, index) => `include[${index}]=${field}`).join("&");
  return v2PageOf(
    all.map((one) => render(one, sent.include)),
    sent,
    PATH,
    query,
  );
}

export const eventDestinationRoutes: readonly Route[] = [
  route("POST", PATH, createDestination, (call) => create(call.account, call.params)),
  route("GET", PATH, listDestinations, (call) => list(call.account, call.params)),
  route("GET", `${PATH}/:id`, including, ({ account, path, params }) =>
    render(find(account, path[0] ?? ""), params.include),
  ),
  route("POST", `${PATH}/:id`, updateDestination, (call) => update(call.account, call.path[0] ?? "", call.params)),
  route("DELETE", `${PATH}/:id`, z.strictObject({}), ({ account, path }) => {
    const { id } = find(account, path[0] ?? "");
    removeEndpoint(account, id);
    return { id, object: "v2.core.event_destination" };
  }),
  route("POST", `${PATH}/:id/disable`, z.strictObject({}), (call) =>
    setStatus(call.account, call.path[0] ?? "", "disabled"),
  ),
  route("POST", `${PATH}/:id/enable`, z.strictObject({}), (call) =>
    setStatus(call.account, call.path[0] ?? "", "enabled"),
  ),
  route("POST", `${PATH}/:id/ping`, z.strictObject({}), ({ account, path }) => {
    const one = find(account, path[0] ?? "");
    const related = { id: one.id, type: "v2.core.event_destination", url: `${PATH}/${one.id}` };
    return account.emitThin("v2.core.event_destination.ping", {}, related, one);
  }),
];

// Thin events: a notification names what happened, the event fetched tells it. GET /v2/core/events.
import { z } from "zod";
import { integer, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { noSuch } from "../http/stripe-error.ts";
import { instant, toRfc3339, type V2List, v2PageOf, v2PagingShape } from "../http/v2.ts";
import type { Account } from "../state/account.ts";

const LIST_PATH = "/v2/core/events";
const KEPT_MS = 30 * 24 * 3_600_000;

/** What a thin event is about; `url` fetches it. */
export interface RelatedObject {
  readonly id: string;
  readonly type: string;
  readonly url: string;
}

/** `v2.core.event`. Never changes. */
export interface ThinEvent {
  readonly id: string;
  readonly object: "v2.core.event";
  readonly type: string;
  /** RFC 3339. */
  readonly created: string;
  readonly livemode: false;
  readonly context: null;
  readonly reason: null;
  readonly related_object?: RelatedObject;
  /** Not in what webhooks deliver. */
  readonly data: object;
}

/** What webhooks deliver of it. */
export function notificationOf({ data: _data, ...event }: ThinEvent): object {
  return event;
}

/** RFC 3339, or the unix seconds that the SDK's types ask for. */
const bound = z.union([instant(), integer().transform((seconds) => seconds * 1_000)]).optional();
const range = z.strictObject({ gt: bound, gte: bound, lt: bound, lte: bound });

const listEvents = z.strictObject({
  ...v2PagingShape,
  created: range.optional(),
  object_id: text().optional(),
  types: z.array(text()).max(20).optional(),
});

/** Newest first. */
function list(account: Account, sent: z.infer<typeof listEvents>): V2List<ThinEvent> {
  const { created, object_id: objectId, types } = sent;
  const isListed = (event: ThinEvent) => {
    const at = Date.parse(event.created);
    return (
      isKept(account, event) &&
      (objectId === undefined || event.related_object?.id === objectId) &&
      (types === undefined || types.includes(event.type)) &&
      (created?.gt === undefined || at > created.gt) &&
      (created?.gte === undefined || at >= created.gte) &&
      (created?.lt === undefined || at < created.lt) &&
      (created?.lte === undefined || at <= created.lte)
    );
  };
  const filters = [
    ...Object.entries(created ?? {}).map(([bound, ms]) => [`created[${bound}]`, toRfc3339(ms ?? 0)] as const),
    ...(objectId === undefined ? [] : [["object_id", objectId] as const]),
    ...(types ?? []).map((type, index) => [`types[${index}]`, type] as const),
  ];
  const query = filters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return v2PageOf([...account.thinEvents.values()].reverse().filter(isListed), sent, LIST_PATH, query);
}

function isKept(account: Account, event: ThinEvent): boolean {
  return account.nowMs - Date.parse(event.created) < KEPT_MS;
}

export const thinEventRoutes: readonly Route[] = [
  route("GET", LIST_PATH, listEvents, (call) => list(call.account, call.params)),
  route("GET", `${LIST_PATH}/:id`, z.strictObject({}), ({ account, path }) => {
    const event = account.thinEvents.get(path[0] ?? "");
    if (!isKept(account, event)) throw noSuch("event", event.id);
    return event;
  }),
];

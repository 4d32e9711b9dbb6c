// Events: what happened, with the object as it was then. GET /v1/events, and what webhooks deliver.

import { z } from "zod";
import { params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import type { RequestOrigin } from "../state/account.ts";
import { createdShape, isCreatedWithin, pagingShape } from "../state/collection.ts";

/** What objects are rendered at; the version that the npm package stripe@23.1.0 pins. */
export const API_VERSION = "2026-10-28.endive";

/** `event`. */
export interface SnapshotEvent {
  readonly id: string;
  readonly object: "event";
  readonly api_version: string;
  readonly created: number;
  readonly data: { readonly object: object; readonly previous_attributes?: object };
  readonly livemode: false;
  /** How many endpoints have not answered 2xx yet. */
  pending_webhooks: number;
  readonly request: RequestOrigin;
  readonly type: string;
}

export const eventRoutes: readonly Route[] = [
  route(
    "GET",
    "/v1/events",
    params({ ...pagingShape, ...createdShape, type: text().optional(), types: z.array(text()).max(20).optional() }),
    ({ account, params: sent }) =>
      account.events.page(
        sent,
        "/v1/events",
        (event) =>
          isTypeWanted(event.type, sent.type === undefined ? sent.types : [sent.type]) &&
          isCreatedWithin(event.created, sent.created),
      ),
  ),
  route("GET", "/v1/events/:id", params({}), ({ account, path }) => account.events.get(path[0] ?? "")),
];

/** Stripe lets a filter end in `*`. */
function isTypeWanted(type: string, wanted: readonly string[] | undefined): boolean {
  return (
    wanted === undefined ||
    wanted.some((pattern) => (pattern.endsWith("*") ? type.startsWith(pattern.slice(0, -1)) : type === pattern))
  );
}

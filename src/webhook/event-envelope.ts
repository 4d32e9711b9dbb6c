// What the route reads of an event; the rest is kept unread.
import { z } from "zod";
import type { StoredStripeEvent } from "../app/ports/accounts.ts";

/** Stripe's ids are letters, digits and underscores. Checked, so that nothing else reaches a query or a log. */
const stripeId = z.string().regex(/^[A-Za-z0-9_]{1,255}$/);
const eventType = z.string().regex(/^[A-Za-z0-9_.]{1,255}$/);

const snapshotEvent = z.object({
  object: z.literal("event"),
  id: stripeId,
  type: eventType,
  created: z.number().int().min(0).max(253_402_300_799),
  // Some objects have no id: an upcoming invoice, a billing alert.
  data: z.object({ object: z.object({ id: stripeId.optional() }) }),
});

const thinEvent = z.object({
  object: z.literal("v2.core.event"),
  id: stripeId,
  type: eventType,
  created: z.iso.datetime({ offset: true }),
  // Empty ({}) or null where the event is about no object.
  related_object: z.object({ id: stripeId.optional() }).nullish(),
});

const event = z.discriminatedUnion("object", [snapshotEvent, thinEvent]);

/** How Stripe tells of an event: with the object as it was, or with its id alone. */
export type EventForm = "snapshot" | "thin";

export interface ParsedEvent extends StoredStripeEvent {
  readonly form: EventForm;
}

/** Reads a verified body, snapshot or thin. Undefined when it is not JSON or not an event of Stripe's. */
export function parseEvent(rawBody: Buffer): ParsedEvent | undefined {
  const payload = rawBody.toString("utf8");
  const parsed = event.safeParse(parseJson(payload));
  if (!parsed.success) return undefined;
  const { data } = parsed;
  const isThin = data.object === "v2.core.event";
  const objectId = isThin ? data.related_object?.id : data.data.object.id;
  const createdMs = isThin ? Math.floor(Date.parse(data.created) / 1000) * 1000 : data.created * 1000;
  const form = isThin ? "thin" : "snapshot";
  return { form, eventId: data.id, type: data.type, createdMs, objectId: objectId ?? "", payload };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

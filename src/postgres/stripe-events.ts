// The inbox of webhook events: stored by the route, claimed by the worker.
import type { StripeEventInbox } from "../app/ports/accounts.ts";
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const STORE = sqlFile("stripe-event-store");
const CLAIM = sqlFile("stripe-event-claim");
const APPLIED = sqlFile("stripe-event-applied");
const FAILED = sqlFile("stripe-event-failed");
const FORGET = sqlFile("stripe-event-forget");

/** Longest error text kept with an event. */
const MESSAGE_MAX = 1_000;

interface EventRow {
  readonly event_id: string;
  readonly type: string;
  readonly object_id: string;
  readonly created_at: Date;
  readonly payload: string;
  readonly attempts: number;
}

export function postgresStripeEventInbox(pool: Pool): StripeEventInbox {
  return {
    async store({ eventId, type, objectId, createdMs, payload }) {
      const result = await pool.query(STORE, [eventId, type, objectId, new Date(createdMs), payload]);
      return result.rowCount === 1;
    },
    async claim(types, limit, leaseMs) {
      const result = await pool.query<EventRow>(CLAIM, [types, limit, leaseMs]);
      return result.rows.map((row) => ({
        eventId: row.event_id,
        type: row.type,
        createdMs: row.created_at.getTime(),
        objectId: row.object_id,
        payload: row.payload,
        attempts: row.attempts,
      }));
    },
    async applied(eventId) {
      await pool.query(APPLIED, [eventId]);
    },
    async failed(eventId, message, retryAfterMs) {
      await pool.query(FAILED, [eventId, message.slice(0, MESSAGE_MAX), retryAfterMs ?? null]);
    },
    async forgetApplied(ageMs, limit) {
      const result = await pool.query(FORGET, [ageMs, limit]);
      return result.rowCount ?? 0;
    },
  };
}

// What an operator sees and does of Stripe's events that could not be applied.
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

const LIST = sqlFile("stripe-event-list");
const REVIVE = sqlFile("stripe-event-revive");

/** An event as it is shown. */
export interface ListedStripeEvent {
  readonly eventId: string;
  readonly type: string;
  /** What it is about; empty where that is not known. */
  readonly objectId: string;
  /** `dead`: given up after the last attempt. */
  readonly state: "received" | "dead";
  readonly attempts: number;
  readonly lastError: string;
  readonly createdAt: Date;
  readonly nextAttemptAt: Date;
}

/** Those not applied, oldest first. */
export async function listStripeEvents(pool: Pool, deadOnly: boolean, limit: number): Promise<ListedStripeEvent[]> {
  return (await pool.query<ListedStripeEvent>(LIST, [deadOnly, limit])).rows;
}

/** Has dead ones applied after all; undefined: all. Resolves to those that were dead. Safe to repeat: applying is. */
export async function reviveStripeEvents(pool: Pool, eventIds: readonly string[] | undefined): Promise<string[]> {
  const { rows } = await pool.query<{ eventId: string }>(REVIVE, [eventIds ?? null]);
  return rows.map(({ eventId }) => eventId);
}

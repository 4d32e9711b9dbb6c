// The quiet after the faults: within a bounded time all must settle by itself. Says what has not.
import { setTimeout as delay } from "node:timers/promises";
import type { Pool } from "../src/postgres/pool.ts";
import type { Deployment } from "./deployment.ts";

const POLL_MS = 500;

/**
 * What may still be under way, each a number that must come to 0. An hour that is not over is not compared yet. A drift that is left to a
 * person stays.
 */
const UNSETTLED = `
SELECT
  (SELECT count(*) FROM shard WHERE watermark IS NULL OR watermark < $1)::integer AS "shards not drained",
  (SELECT count(*) FROM pending_window WHERE total <> reported)::integer AS "windows not planned",
  (SELECT count(*) FROM report WHERE state IN ('planned', 'sending', 'unknown'))::integer AS "reports not sent",
  (SELECT count(*) FROM report r WHERE state IN ('sent', 'accepted') AND reconciled_at IS NULL AND kind <> 'unbilled'
    AND date_bin('1 hour', event_timestamp, timestamptz 'epoch') + interval '1 hour' <= now()
    AND NOT EXISTS (
      SELECT FROM drift d WHERE d.stripe_customer_id = r.stripe_customer_id AND d.event_name = r.event_name AND d.state = 'open'
        AND d.hindrance = 'boundary'
        AND date_bin('1 hour', d.span_start, timestamptz 'epoch') = date_bin('1 hour', r.event_timestamp, timestamptz 'epoch'))
  )::integer AS "reports not compared with Stripe's sums",
  (SELECT count(*) FROM drift WHERE state = 'open' AND hindrance <> 'boundary'
    AND date_bin('1 hour', span_start, timestamptz 'epoch') + interval '1 hour' <= now())::integer AS "drifts not repaired",
  (SELECT count(*) FROM invoiced_period WHERE billed IS NOT NULL AND closed_at IS NULL)::integer AS "invoices not closed",
  (SELECT count(*) FROM stripe_event WHERE state = 'received')::integer AS "webhooks not applied",
  (SELECT count(*) FROM flush_request WHERE done_at IS NULL)::integer AS "flushes not done"
`;

/** What is not settled, in words; empty: all is. */
export async function unsettled(
  { pool, control }: { readonly pool: Pool; control(method: "GET", path: string): Promise<unknown> },
  sinceMs: number,
): Promise<string> {
  const { rows } = await pool.query<Record<string, number>>(UNSETTLED, [new Date(sinceMs)]);
  const { asynchronous } = (await control("GET", "state")) as { asynchronous: { waiting: number } };
  const open = Object.entries({ ...rows[0], "events that Stripe has not looked at": asynchronous.waiting });
  return open
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${what}`)
    .join(", ");
}

/** Waits until all is settled twice in a row; the last that was not, where that takes longer than `limitMs`. */
export async function waitUntilSettled(
  deployment: Deployment,
  sinceMs: number,
  limitMs: number,
  onWait: (what: string) => void,
): Promise<string> {
  const untilMs = Date.now() + limitMs;
  const parts = { pool: deployment.pool, control: (method: "GET", path: string) => deployment.control(method, path) };
  let settled = 0;
  let last = "";
  while (settled < 2) {
    const open = await unsettled(parts, sinceMs).catch(
      (cause: unknown) => `the stores cannot be asked: ${String(cause)}`,
    );
    settled = open === "" ? settled + 1 : 0;
    if (open !== last && open !== "") onWait(open);
    if (open !== "") last = open;
    if (Date.now() > untilMs) return last;
    await delay(POLL_MS);
  }
  return "";
}

// The quiet after the faults: within a bounded time all must settle by itself. Says what has not.
import { setTimeout as delay } from "node:timers/promises";
import type { Deployment } from "./deployment.ts";

const POLL_MS = 500;
const STOP_LIMIT_MS = 60_000;
const WORKERS = ["worker-1", "worker-2"] as const;

/**
 * What may still be under way, each a number that must come to 0. An hour that is not over is not compared yet. A drift in a minute that two
 * periods share, of which nobody can tell whose it is, is left to a person, and with it the invoice that it may belong to.
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
  (SELECT count(*) FROM invoiced_period ip WHERE billed IS NOT NULL AND closed_at IS NULL
    AND NOT EXISTS (
      SELECT FROM drift d WHERE d.stripe_customer_id = ip.stripe_customer_id AND d.event_name = ip.event_name AND d.state = 'open'
        AND d.hindrance = 'boundary' AND d.span_start < ip.period_end AND d.span_end > ip.period_start)
  )::integer AS "invoices not closed",
  (SELECT count(*) FROM stripe_event WHERE state = 'received')::integer AS "webhooks not applied",
  (SELECT count(*) FROM flush_request WHERE done_at IS NULL)::integer AS "flushes not done"
`;

/** What is not settled, in words; empty: all is. */
async function unsettled(deployment: Deployment, sinceMs: number): Promise<string> {
  const { rows } = await deployment.pool.query<Record<string, number>>(UNSETTLED, [new Date(sinceMs)]);
  const { asynchronous } = (await deployment.control("GET", "state")) as { asynchronous: { waiting: number } };
  const open = Object.entries({ ...rows[0], "events that Stripe has not looked at": asynchronous.waiting });
  return open
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${what}`)
    .join(", ");
}

/** What stands still at the end, to be counted. */
export interface Standstill {
  /** What has not settled; empty: all has. */
  readonly left: string;
  /** Hours that were over then are compared. */
  readonly asOfMs: number;
}

/** Waits until all is settled twice in a row, then ends the workers, so that nothing moves while it is counted. */
export async function comeToRest(
  deployment: Deployment,
  sinceMs: number,
  limitMs: number,
  onWait: (what: string) => void,
): Promise<Standstill> {
  const untilMs = Date.now() + limitMs;
  for (;;) {
    const left = await waitUntilSettled(deployment, sinceMs, untilMs - Date.now(), onWait);
    for (const name of WORKERS) await deployment.program(name).stop("SIGTERM", STOP_LIMIT_MS);
    const asOfMs = Date.now();
    // An hour may just have ended, or a webhook come: then there is more to be done.
    const stirred = left === "" ? await unsettled(deployment, sinceMs) : left;
    if (stirred === "" || Date.now() > untilMs) return { left: stirred, asOfMs };
    for (const name of WORKERS) deployment.program(name).start();
  }
}

async function waitUntilSettled(
  deployment: Deployment,
  sinceMs: number,
  limitMs: number,
  onWait: (what: string) => void,
): Promise<string> {
  const untilMs = Date.now() + limitMs;
  let settled = 0;
  let last = "";
  while (settled < 2) {
    const open = await unsettled(deployment, sinceMs).catch(
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

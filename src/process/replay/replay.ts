// One replay: fresh customers, the records of a trace, and then everything read back from the service and from Stripe.
import { randomUUID } from "node:crypto";
import type { Clock } from "../../app/ports/clock.ts";
import type { MeterCatalog } from "../../domain/meter.ts";
import type { Interval } from "../../domain/window.ts";
import type { MeteringClient } from "../../rpc/client.ts";
import type { openStripe } from "../../stripe/client.ts";
import { createCustomer } from "../../stripe/customers.ts";
import { activeMeterIds, countedByStripe } from "../../stripe/summaries.ts";
import { forEachConcurrently } from "./concurrently.ts";
import { LedgerView } from "./ledger-view.ts";
import type { ReplayOutcome } from "./outcome.ts";
import { PatientCaller, StandstillError, StandstillTimer } from "./patience.ts";
import { type SendResult, sendAll } from "./sender.ts";
import { randomFrom } from "./spread.ts";
import { differencesOf, Sums } from "./sums.ts";
import type { Teller } from "./teller.ts";
import type { TraceSurvey } from "./trace.ts";
import { Workload } from "./workload.ts";

export interface ReplayOptions {
  readonly file: string;
  readonly survey: TraceSurvey;
  readonly customers: number;
  readonly seed: number;
  readonly repeat: number;
  readonly concurrency: number;
  readonly batchSize: number | undefined;
  readonly recordsPerSecond: number | undefined;
  /** Longest wait for anything that does not move. */
  readonly standstillMs: number;
}

export interface ReplayParts {
  /** One for each address of the service. */
  readonly clients: readonly MeteringClient[];
  readonly stripe: ReturnType<typeof openStripe>;
  /** Whether it is Stripe itself, whose sums follow its meter events with a delay. */
  readonly sumsAreDelayed: boolean;
  readonly catalog: MeterCatalog;
  /** Asks the flush to run at once; false when it cannot be asked, and works at its own pace. */
  readonly requestFlush: () => Promise<boolean>;
  readonly clock: Clock;
  readonly tell: Teller;
}

const HOUR_MS = 3_600_000;
/** One attempt of a call. */
const CALL_TIMEOUT_MS = 5_000;
const STRIPE_CONCURRENCY = 8;
const STRIPE_POLL_MS = 2_000;

/**
 * Replays the trace; the outcome tells whether all sums agree. Rejects with RefusedRecordError, with UnreachableError when the service
 * stays away, and with the Stripe SDK's errors. What was recorded stays recorded.
 */
export async function replay(options: ReplayOptions, parts: ReplayParts): Promise<ReplayOutcome> {
  const { clock, tell } = parts;
  const random = randomFrom(options.seed);
  const patience = { callTimeoutMs: CALL_TIMEOUT_MS, giveUpAfterMs: options.standstillMs, clock, random };
  const caller = new PatientCaller(parts.clients, patience);
  const customerIds = await createCustomers(options.customers, parts);
  const { file, survey, seed, repeat } = options;
  const workload = new Workload({ file, survey, customerIds, seed, catalog: parts.catalog, nowMs: clock.nowMs() });
  const sent = await sendAll(workload.records(), {
    caller,
    concurrency: options.concurrency,
    repeat,
    batchSize: options.batchSize,
    recordsPerSecond: options.recordsPerSecond,
    onProgress: (records) => tell.progress("recording", records, survey.records),
  });
  if (caller.retries > 0) tell.note(`${caller.retries} calls failed and were repeated`);
  const view = new LedgerView({ caller, customerIds, interval: workload.interval, standstillMs: options.standstillMs });
  await settle(view, sent, options, parts);
  const { acknowledged, duplicates } = sent;
  const stripe = await readStripe(workload, customerIds, options, parts);
  return {
    records: survey.records,
    repeat,
    acknowledged,
    duplicates,
    sent: workload.sent,
    ledger: view.sums(),
    billable: workload.billable,
    stripe,
  };
}

/** Fresh ones, so that the sums of a replay stand alone. */
async function createCustomers(count: number, { stripe, tell }: ReplayParts): Promise<readonly string[]> {
  const run = randomUUID();
  const ids: string[] = [];
  await forEachConcurrently(Array.from({ length: count }).keys(), STRIPE_CONCURRENCY, async (i) => {
    ids[i] = await createCustomer(stripe, `replay ${i + 1} of ${count}`, `replay-${run}-${i}`);
    tell.progress("creating customers", ids.filter(Boolean).length, count);
  });
  return ids;
}

/** Waits until the service has counted and reported everything. One that stands still is read as it is: the sums show what is missing. */
async function settle(view: LedgerView, sent: SendResult, options: ReplayOptions, parts: ReplayParts): Promise<void> {
  const { clock, tell } = parts;
  const show = (step: string) => (customers: number) => tell.progress(step, customers, options.customers);
  try {
    await view.waitUntilCounted(sent.lastTokens, clock.nowMs(), show("counting: customers complete"));
    // Only now: a flush takes what is in the ledger when it is asked.
    if (!(await parts.requestFlush()))
      tell.note("the database is out of reach from here: waiting for the service's own flush");
    await view.waitUntilReported(show("reporting to Stripe: customers complete"));
  } catch (cause) {
    if (!(cause instanceof StandstillError)) throw cause;
    tell.note(cause.message);
  }
}

/** What Stripe counted for these customers, for every event name that the trace or the catalog knows. */
async function readStripe(
  workload: Workload,
  customerIds: readonly string[],
  options: ReplayOptions,
  parts: ReplayParts,
): Promise<Sums> {
  const eventNames = workload.billable.names();
  const interval = toHours(workload.interval);
  const timer = new StandstillTimer(options.standstillMs, parts.clock);
  while (true) {
    const sums = await readStripeOnce(eventNames, customerIds, interval, parts);
    const missing = differencesOf(workload.billable, sums).filter(({ expected, found }) => found < expected);
    if (!parts.sumsAreDelayed || missing.length === 0) return sums;
    if (timer.standsStill(eventNames.map((name) => sums.total(name)).join())) return sums;
    await parts.clock.sleep(STRIPE_POLL_MS);
  }
}

async function readStripeOnce(
  eventNames: readonly string[],
  customerIds: readonly string[],
  interval: Interval,
  { stripe, tell }: ReplayParts,
): Promise<Sums> {
  const meterIds = await activeMeterIds(stripe, eventNames);
  for (const name of eventNames) if (!meterIds.has(name)) tell.note(`Stripe has no active meter for "${name}"`);
  const sums = new Sums();
  const places = customerIds.flatMap((customerId) => [...meterIds].map(([name, id]) => ({ customerId, name, id })));
  let done = 0;
  await forEachConcurrently(places, STRIPE_CONCURRENCY, async ({ customerId, name, id }) => {
    sums.add(customerId, name, await countedByStripe(stripe, id, customerId, interval));
    done += 1;
    tell.progress("reading Stripe's sums", done, places.length);
  });
  return sums;
}

/** The summaries' grain. Nothing else is counted for these customers, so a wider interval adds nothing. */
function toHours({ startMs, endMs }: Interval): Interval {
  return { startMs: Math.floor(startMs / HOUR_MS) * HOUR_MS, endMs: Math.ceil(endMs / HOUR_MS) * HOUR_MS };
}

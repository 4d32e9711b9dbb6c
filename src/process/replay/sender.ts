// Sends records as a good client does: under their keys, again and again until the service has said that it has them.
import { CallFailure, type MeteringClient, type Recorded, type RecordToSend } from "../../rpc/client.ts";
import { forEachConcurrently } from "./concurrently.ts";
import type { PatientCaller } from "./patience.ts";

/** A record, and where it came from. */
export interface OutgoingRecord {
  readonly record: RecordToSend;
  readonly customerId: string;
  /** For messages, such as "row 17". */
  readonly origin: string;
}

export interface SendOptions {
  readonly caller: PatientCaller;
  /** Most records, or batches, on their way at a time, each `repeat` times. */
  readonly concurrency: number;
  /** Each record is sent so many times, all of them at once. */
  readonly repeat: number;
  /** Undefined: RecordUsage, one by one. Else BatchRecordUsage, 1..1000. */
  readonly batchSize: number | undefined;
  /** Undefined: as fast as the service takes them. */
  readonly recordsPerSecond: number | undefined;
  readonly onProgress: (records: number) => void;
}

/** What the service answered. */
export interface SendResult {
  /** Records that it said to have stored. */
  readonly acknowledged: number;
  /** Further sends that it knew for repeats. */
  readonly duplicates: number;
  /** The consistency token that each customer's last acknowledged record got. */
  readonly lastTokens: ReadonlyMap<string, string>;
}

/** The service refused a record for good. */
export class RefusedRecordError extends Error {
  override readonly name = "RefusedRecordError";
}

/** One send of one record, with its retries. */
interface Delivery {
  answer: Recorded | undefined;
  /** An attempt failed in a way that may have stored the record. */
  isUncertain: boolean;
}

/** Sends all; rejects with RefusedRecordError, or as PatientCaller does. */
export async function sendAll(source: AsyncIterable<OutgoingRecord>, options: SendOptions): Promise<SendResult> {
  const { caller, concurrency, repeat } = options;
  const lastTokens = new Map<string, string>();
  let acknowledged = 0;
  let duplicates = 0;
  let records = 0;
  const paced = options.recordsPerSecond === undefined ? source : pace(source, options.recordsPerSecond, caller.clock);
  await forEachConcurrently(batches(paced, options.batchSize ?? 1), concurrency, async (batch) => {
    const send = options.batchSize === undefined ? sendOne : sendBatch;
    const sends = await Promise.all(Array.from({ length: repeat }, () => send(caller, batch)));
    for (const [i, { customerId }] of batch.entries()) {
      const deliveries = sends.flatMap((deliveriesOfSend) => deliveriesOfSend[i] ?? []);
      const count = countDeliveries(deliveries);
      acknowledged += count.acknowledged;
      duplicates += count.duplicates;
      const token = deliveries.at(-1)?.answer?.consistencyToken;
      if (token !== undefined) lastTokens.set(customerId, token);
    }
    records += batch.length;
    options.onProgress(records);
  });
  return { acknowledged, duplicates, lastTokens };
}

/**
 * A record whose sends were all answered "duplicate" was stored by an attempt whose answer got lost: one of those answers stands for it.
 * Without such an attempt the service is wrong, and the count shows it.
 */
function countDeliveries(deliveries: readonly Delivery[]): { acknowledged: number; duplicates: number } {
  const duplicates = deliveries.filter(({ answer }) => answer?.isDuplicate).length;
  const recorded = deliveries.filter(({ answer }) => answer?.isDuplicate === false).length;
  const answerLost = recorded === 0 && duplicates > 0 && deliveries.some(({ isUncertain }) => isUncertain);
  return answerLost ? { acknowledged: 1, duplicates: duplicates - 1 } : { acknowledged: recorded, duplicates };
}

async function sendOne(caller: PatientCaller, batch: readonly OutgoingRecord[]): Promise<Delivery[]> {
  const [outgoing] = batch;
  if (outgoing === undefined) return [];
  const delivery: Delivery = { answer: undefined, isUncertain: false };
  try {
    delivery.answer = await caller.call(
      (client, timeoutMs) => client.recordUsage(outgoing.record, timeoutMs),
      (failure) => note(failure, [delivery]),
    );
  } catch (cause) {
    throw explain(cause, outgoing);
  }
  return [delivery];
}

/** Items that failed and may be repeated go again, without those that succeeded. */
async function sendBatch(caller: PatientCaller, batch: readonly OutgoingRecord[]): Promise<Delivery[]> {
  const deliveries = batch.map((): Delivery => ({ answer: undefined, isUncertain: false }));
  const attempt = async (client: MeteringClient, timeoutMs: number) => {
    const open = [...deliveries.keys()].filter((i) => deliveries[i]?.answer === undefined);
    const records = open.flatMap((i) => batch[i]?.record ?? []);
    const results = await client.batchRecordUsage(records, timeoutMs);
    let again: CallFailure | undefined;
    for (const [at, i] of open.entries()) {
      const [result, delivery, outgoing] = [results[at], deliveries[i], batch[i]];
      if (result === undefined || delivery === undefined || outgoing === undefined) throw new Error(`no item ${i}`);
      if (!(result instanceof CallFailure)) delivery.answer = result;
      else if (!result.isRetriable) throw explain(result, outgoing);
      else again = result;
    }
    if (again !== undefined) throw again;
  };
  await caller.call(attempt, (failure) => note(failure, deliveries));
  return deliveries;
}

function note(failure: CallFailure, deliveries: readonly Delivery[]): void {
  if (failure.isRefusal) return;
  for (const delivery of deliveries) if (delivery.answer === undefined) delivery.isUncertain = true;
}

function explain(cause: unknown, { origin }: OutgoingRecord): unknown {
  if (!(cause instanceof CallFailure)) return cause;
  const reason = cause.reason === "" ? "" : ` (${cause.reason})`;
  return new RefusedRecordError(`${origin} was refused: ${cause.code}${reason}: ${cause.message}`, { cause });
}

async function* batches<T>(source: AsyncIterable<T>, size: number): AsyncGenerator<readonly T[], void> {
  let batch: T[] = [];
  for await (const item of source) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** Holds each item back until its turn at an even rate. */
async function* pace<T>(
  source: AsyncIterable<T>,
  perSecond: number,
  clock: PatientCaller["clock"],
): AsyncGenerator<T, void> {
  const startMs = clock.monotonicMs();
  let index = 0;
  for await (const item of source) {
    const waitMs = startMs + (index / perSecond) * 1000 - clock.monotonicMs();
    if (waitMs > 1) await clock.sleep(waitMs);
    index += 1;
    yield item;
  }
}

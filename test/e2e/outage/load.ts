// Load during an outage: a replay at an even rate, and single calls that look at what callers are told.
import { setTimeout as delay } from "node:timers/promises";
import { CallFailure, MeteringClient } from "../../../src/rpc/client.ts";
import { testClock } from "../../support/clock.ts";
import type { CommandProcess } from "../../support/command.ts";
import type { Service } from "../../support/service.ts";

/** How long a store is away. */
export const OUTAGE_MS = 30_000;
/** A trace of 4,000 records then lasts 40 s, longer than the outage. */
export const RECORDS_PER_SECOND = 100;
/** A caller is answered within this time even while a store is away. */
export const RPC_LIMIT_MS = 8_000;

const RECORDS_BEFORE = 300;

/** What one call was told. */
export interface Told {
  /** "OK", or the name of the failure's code. */
  readonly code: string;
  readonly reason: string;
  readonly retryAfterMs: number;
  readonly tookMs: number;
}

/** Waits until the replay has some records stored. */
export async function isUnderLoad(replay: CommandProcess, service: Service): Promise<void> {
  while ((await service.api.metric("metering_records_total")) < RECORDS_BEFORE) {
    if (!replay.isRunning) throw new Error(`the replay ended early:\n${replay.output}`);
    await delay(50);
  }
}

/** Records 1 token under this key; the same call each time. */
export function tryRecord(service: Service, idempotencyKey: string): Promise<Told> {
  const measurements = [{ meter: "input_tokens", quantity: 1n }];
  const eventTime = { seconds: BigInt(Math.floor(STARTED_MS / 1000)) };
  const record = { idempotencyKey, customerId: "outage-probe", eventTime, measurements };
  return tell(service, (client) => client.recordUsage(record, 2 * RPC_LIMIT_MS));
}

export function tryRead(service: Service): Promise<Told> {
  return tell(service, (client) => client.getUsage({ customerId: "outage-probe" }, 2 * RPC_LIMIT_MS));
}

const STARTED_MS = Date.now();

async function tell(service: Service, call: (client: MeteringClient) => Promise<unknown>): Promise<Told> {
  const client = new MeteringClient(service.api.grpcTarget, testClock());
  const startMs = performance.now();
  try {
    await call(client);
    return { code: "OK", reason: "", retryAfterMs: 0, tookMs: performance.now() - startMs };
  } catch (cause) {
    if (!(cause instanceof CallFailure)) throw cause;
    const { code, reason, retryAfterMs } = cause;
    return { code, reason, retryAfterMs, tookMs: performance.now() - startMs };
  } finally {
    client.close();
  }
}

// From the rows of a trace to usage records that happened just now.
import { billableQuantities, type MeterCatalog } from "../../domain/meter.ts";
import { DAY_MS, type Interval, QUARTER_HOUR_MS } from "../../domain/window.ts";
import type { OutgoingRecord } from "./sender.ts";
import { spreadOwners } from "./spread.ts";
import { Sums } from "./sums.ts";
import { readTrace, TraceError, type TraceSurvey } from "./trace.ts";

/** What the columns of a trace are measured with. */
export const INPUT_METER = "input_tokens";
export const OUTPUT_METER = "output_tokens";

/** The service takes times up to 35 days back; the rest is for the replay itself. */
const TRACE_SPAN_MAX_MS = 34 * DAY_MS;
const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;

export interface WorkloadOptions {
  readonly file: string;
  readonly survey: TraceSurvey;
  /** The first gets most rows. */
  readonly customerIds: readonly string[];
  readonly seed: number;
  readonly catalog: MeterCatalog;
  /** The last row happens then. */
  readonly nowMs: number;
}

/** Throws TraceError when the trace covers more time than the service accepts. */
export function checkSpan(file: string, { earliestNs, latestNs }: TraceSurvey): void {
  const days = (latestNs - earliestNs) / NS_PER_MS / BigInt(DAY_MS);
  if (latestNs - earliestNs > BigInt(TRACE_SPAN_MAX_MS) * NS_PER_MS)
    throw new TraceError(
      `${file} covers ${days} days, more than the ${TRACE_SPAN_MAX_MS / DAY_MS} that can be moved up to now`,
    );
}

/** The records of a trace, and what they add up to once all were taken. */
export class Workload {
  /** By meter and "requests". */
  readonly sent = new Sums();
  /** By Stripe event name. */
  readonly billable = new Sums();
  readonly #options: WorkloadOptions;
  readonly #shiftNs: bigint;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#shiftNs = BigInt(options.nowMs) * NS_PER_MS - options.survey.latestNs;
  }

  /** Holds every record; on quarter-hours. */
  get interval(): Interval {
    const { earliestNs, latestNs } = this.#options.survey;
    const startMs = Number((earliestNs + this.#shiftNs) / NS_PER_MS);
    const endMs = Number((latestNs + this.#shiftNs) / NS_PER_MS) + 1;
    return {
      startMs: Math.floor(startMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS,
      endMs: Math.ceil(endMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS,
    };
  }

  /** In the order of the trace. The same seed gives every row the same owner and the same key. */
  async *records(): AsyncGenerator<OutgoingRecord, void> {
    const { file, customerIds, seed, catalog } = this.#options;
    const owners = spreadOwners(customerIds.length, seed);
    for await (const { index, timeNs, inputTokens, outputTokens } of readTrace(file)) {
      const { customer, apiKeyId, model } = owners.next().value;
      const customerId = customerIds[customer] ?? "";
      const movedNs = timeNs + this.#shiftNs;
      const measurements = [
        { meter: INPUT_METER, quantity: inputTokens },
        { meter: OUTPUT_METER, quantity: outputTokens },
      ];
      for (const { meter, quantity } of measurements) this.sent.add(customerId, meter, quantity);
      this.sent.add(customerId, "requests", 1n);
      for (const { eventName, quantity } of billableQuantities({ model, measurements }, catalog))
        this.billable.add(customerId, eventName, quantity);
      const eventTime = { seconds: movedNs / NS_PER_S, nanos: Number(movedNs % NS_PER_S) };
      const idempotencyKey = `replay-${seed}-${index}`;
      const record = { idempotencyKey, customerId, apiKeyId, eventTime, model, measurements };
      yield { record, customerId, origin: `row ${index + 1}` };
    }
  }
}

// Error reports: what Stripe took and then threw away, as its thin events tell.
import type { Interval } from "../../domain/window.ts";

/** An error report in full. It names samples: what it does not name may have been thrown away as well. */
export interface MeterErrorReport {
  readonly eventId: string;
  /** The meter's; undefined where Stripe found no meter, or has none of this id any more. */
  readonly eventName: string | undefined;
  /** When Stripe had received the events that it judged. */
  readonly validation: Interval;
  /** One a code. */
  readonly errors: readonly MeterError[];
}

export interface MeterError {
  /** Stripe's word; the list of them is open. */
  readonly code: string;
  /** Events thrown away for it; the samples may be fewer. */
  readonly count: number;
  readonly samples: readonly MeterErrorSample[];
}

export interface MeterErrorSample {
  /** Of the meter event, which is a report's identifier where it was ours. */
  readonly identifier: string;
  /** At most MESSAGE_MAX characters. */
  readonly message: string;
}

/** Reads error reports in full. */
export interface MeterErrorSource {
  /** Undefined: Stripe has no such event, or no longer (it keeps them for 30 days). Rejects when Stripe is away. */
  meterErrorReport(eventId: string, signal: AbortSignal): Promise<MeterErrorReport | undefined>;
}

/** What an error report led to. */
export interface MeterErrorEffect {
  /** Reports that this call put on hold, by reason. */
  readonly held: ReadonlyMap<string, number>;
  /** Reports named that are being sent at this moment, and were let be: how that ends is not known yet. */
  readonly sending: number;
  /** (customer, meter, hour) that are to be compared with Stripe's sums. */
  readonly spans: number;
}

export interface MeterErrors {
  /**
   * Keeps an error report, holds the reports that it names, and asks for a comparison of every hour that it may be about. One
   * transaction; any repetition and order of calls ends in the same tables. The leader's writes wait meanwhile, some milliseconds.
   */
  apply(report: MeterErrorReport): Promise<MeterErrorEffect>;
}

// Every meter event that was accepted, and the sums over them: per meter and customer, in minutes of event time.

/** Stripe's answer to an accepted event. It has no id. */
export interface MeterEventObject {
  readonly object: "billing.meter_event";
  readonly created: number;
  readonly event_name: string;
  readonly identifier: string;
  readonly livemode: false;
  readonly payload: Readonly<Record<string, string>>;
  readonly timestamp: number;
}

/** The way an event came in. */
export type Inlet = "v1" | "v2" | "stream";

/** From the receipt of an event until summaries show it: between the two, by the event's own lag. Milliseconds. */
export interface SummaryDelay {
  readonly minMs: number;
  readonly maxMs: number;
}

/** An accepted event. `fate` says whether it counts: cancelled by an adjustment, or overwritten in its event_time_window. */
export interface AcceptedEvent {
  readonly object: MeterEventObject;
  readonly meterId: string;
  readonly customerId: string;
  /** Scaled, see quantity.ts. */
  readonly value: bigint;
  readonly inlet: Inlet;
  readonly receivedMs: number;
  /** 0 to 1: where in the span that summaries may take it shows. */
  readonly lag: number;
  fate: "counted" | "cancelled" | "overwritten";
}

/** What a meter makes of the events of a stretch of time. */
export type Formula = "sum" | "count" | "last";

/** Half-open, unix seconds. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

interface Minute {
  sum: bigint;
  lastReceivedMs: number;
  readonly events: AcceptedEvent[];
}

class Series {
  total = 0n;
  readonly minutes = new Map<number, Minute>();
  /** The event that counts in each event_time_window, by the window's start. */
  readonly windows = new Map<number, AcceptedEvent>();
}

const MINUTE = 60;

export class UsageBook {
  readonly events: AcceptedEvent[] = [];
  readonly #series = new Map<string, Map<string, Series>>();
  readonly #byIdentifier = new Map<string, AcceptedEvent[]>();

  /** Counts the event. With `windowSeconds`, it takes the place of the one received before it in the same window. */
  add(event: AcceptedEvent, windowSeconds: number | undefined): void {
    this.events.push(event);
    const same = this.#byIdentifier.get(event.object.identifier);
    if (same === undefined) this.#byIdentifier.set(event.object.identifier, [event]);
    else same.push(event);
    const series = this.#seriesOf(event);
    if (windowSeconds !== undefined) {
      const start = Math.floor(event.object.timestamp / windowSeconds) * windowSeconds;
      const previous = series.windows.get(start);
      // A streamed event is counted some seconds after its receipt: one received after it may be there before.
      if (previous !== undefined && previous.receivedMs > event.receivedMs) event.fate = "overwritten";
      else if (previous?.fate === "counted") this.#take(series, previous, "overwritten");
      if (event.fate === "counted") series.windows.set(start, event);
    }
    const minute = Math.floor(event.object.timestamp / MINUTE) * MINUTE;
    const bucket = series.minutes.get(minute) ?? { sum: 0n, lastReceivedMs: 0, events: [] };
    series.minutes.set(minute, bucket);
    bucket.events.push(event);
    if (event.fate !== "counted") return;
    bucket.sum += event.value;
    bucket.lastReceivedMs = Math.max(bucket.lastReceivedMs, event.receivedMs);
    series.total += event.value;
  }

  /** Takes an event out of the sums. */
  cancel(event: AcceptedEvent): void {
    if (event.fate === "counted") this.#take(this.#seriesOf(event), event, "cancelled");
    event.fate = "cancelled";
  }

  /** All events ever accepted under an identifier, oldest first: more than one after its uniqueness expired. */
  withIdentifier(identifier: string): readonly AcceptedEvent[] {
    return this.#byIdentifier.get(identifier) ?? [];
  }

  /** The exact sum over all counted events of a meter and customer, whatever the meter's formula. */
  total(meterId: string, customerId: string): bigint {
    return this.#series.get(meterId)?.get(customerId)?.total ?? 0n;
  }

  /** Every (meter, customer) with events, and its exact sum. */
  *totals(): Generator<{ readonly meterId: string; readonly customerId: string; readonly total: bigint }> {
    for (const [meterId, customers] of this.#series) {
      for (const [customerId, series] of customers) yield { meterId, customerId, total: series.total };
    }
  }

  /**
   * The aggregate of one span, or undefined without any event in it. Cost: the minutes of the span or of the series,
   * whichever is less.
   */
  aggregate(meterId: string, customerId: string, span: Span, formula: Formula): bigint | undefined {
    return this.aggregateBy(meterId, customerId, span, span.end - span.start, formula).get(span.start);
  }

  /**
   * The aggregates of the windows of `windowSeconds`, counted from the span's start, that have events; by window start,
   * in no order. With `shown`, of the events that summaries show at its `atMs`.
   */
  aggregateBy(
    meterId: string,
    customerId: string,
    span: Span,
    windowSeconds: number,
    formula: Formula,
    shown?: SummaryDelay & { readonly atMs: number },
  ): Map<number, bigint> {
    const result = new Map<number, bigint>();
    const latest = new Map<number, number>();
    const series = this.#series.get(meterId)?.get(customerId);
    if (series === undefined) return result;
    for (const [minute, bucket] of minutesWithin(series.minutes, span)) {
      const windowStart = span.start + Math.floor((minute - span.start) / windowSeconds) * windowSeconds;
      const isWhole = minute >= span.start && minute + MINUTE <= span.end && isShown(bucket.lastReceivedMs, 1, shown);
      if (formula === "sum" && isWhole && windowSeconds % MINUTE === 0 && span.start % MINUTE === 0) {
        if (bucket.events.some((event) => event.fate === "counted")) {
          result.set(windowStart, (result.get(windowStart) ?? 0n) + bucket.sum);
        }
        continue;
      }
      for (const event of bucket.events) {
        const at = event.object.timestamp;
        if (event.fate !== "counted" || at < span.start || at >= span.end) continue;
        if (!isShown(event.receivedMs, event.lag, shown)) continue;
        const start = span.start + Math.floor((at - span.start) / windowSeconds) * windowSeconds;
        addTo(result, latest, start, event, formula);
      }
    }
    return result;
  }

  #seriesOf(event: AcceptedEvent): Series {
    const customers = this.#series.get(event.meterId) ?? new Map<string, Series>();
    this.#series.set(event.meterId, customers);
    const series = customers.get(event.customerId) ?? new Series();
    customers.set(event.customerId, series);
    return series;
  }

  #take(series: Series, event: AcceptedEvent, fate: "cancelled" | "overwritten"): void {
    event.fate = fate;
    series.total -= event.value;
    const bucket = series.minutes.get(Math.floor(event.object.timestamp / MINUTE) * MINUTE);
    if (bucket !== undefined) bucket.sum -= event.value;
  }
}

function isShown(receivedMs: number, lag: number, shown: (SummaryDelay & { readonly atMs: number }) | undefined) {
  if (shown === undefined) return true;
  const { atMs, minMs, maxMs } = shown;
  return receivedMs + minMs + lag * Math.max(0, maxMs - minMs) <= atMs;
}

function* minutesWithin(minutes: ReadonlyMap<number, Minute>, span: Span): Generator<readonly [number, Minute]> {
  const first = Math.floor(span.start / MINUTE) * MINUTE;
  if ((span.end - first) / MINUTE > minutes.size) {
    for (const entry of minutes) if (entry[0] >= first && entry[0] < span.end) yield entry;
    return;
  }
  for (let minute = first; minute < span.end; minute += MINUTE) {
    const bucket = minutes.get(minute);
    if (bucket !== undefined) yield [minute, bucket];
  }
}

function addTo(
  result: Map<number, bigint>,
  latest: Map<number, number>,
  start: number,
  event: AcceptedEvent,
  formula: Formula,
): void {
  const at = event.object.timestamp;
  if (formula === "last") {
    if (at < (latest.get(start) ?? Number.NEGATIVE_INFINITY)) return;
    latest.set(start, at);
    result.set(start, event.value);
  } else {
    result.set(start, (result.get(start) ?? 0n) + (formula === "count" ? 10n ** 12n : event.value));
  }
}

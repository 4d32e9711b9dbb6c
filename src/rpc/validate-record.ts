// Usage records from the wire to the domain. The hot path: no schema library, and nothing built for a record that is valid but the record.
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { BatchRecordUsageRequest, RecordUsageRequest } from "../../gen/metering/v1/metering_service_pb.ts";
import type { Measurement as SentMeasurement } from "../../gen/metering/v1/usage_pb.ts";
import type { Clock } from "../app/ports/clock.ts";
import type { MeteringError } from "../domain/errors.ts";
import { type MeterCatalog, REQUESTS_METER } from "../domain/meter.ts";
import { compareText, fingerprintOf, type Measurement, type UsageRecord } from "../domain/usage-record.ts";
import { DAY_MS, MINUTE_MS } from "../domain/window.ts";
import { ID_MAX, keyProblem, textProblem } from "./text-bounds.ts";
import { Violations } from "./violations.ts";

/** Oldest event time, before now. The promise "counted once" holds as long, so raw records are kept longer. */
export const EVENT_TIME_BACK_MS = 35 * DAY_MS;
/** Newest event time, after now: what clocks may differ by. */
export const EVENT_TIME_AHEAD_MS = 5 * MINUTE_MS;
/** Most records in a batch. */
const BATCH_MAX = 1000;
const MEASUREMENTS_MAX = 16;
const QUANTITY_MAX = 1_000_000_000_000n;
const LABELS_MAX = 16;
const LABEL_KEY = /^[a-z0-9_]{1,64}$/;
const LABEL_VALUE_MAX = 256;
/** How much of a bad label key is shown in its field path. */
const LABEL_KEY_SHOWN = 32;
const NANOS_MAX = 999_999_999;
/** Names told to who sends an unknown meter. */
const METERS_SHOWN = 10;

/** Makes domain records of sent ones, with every violation of a record named at once. */
export class RecordValidator {
  readonly #catalog: MeterCatalog;
  readonly #clock: Clock;
  readonly #unknownMeter: string;

  constructor(catalog: MeterCatalog, clock: Clock) {
    this.#catalog = catalog;
    this.#clock = clock;
    const names = [...catalog.meters.keys()];
    const shown = names.slice(0, METERS_SHOWN).join(", ");
    this.#unknownMeter = `must be a configured meter: ${shown}${names.length > METERS_SHOWN ? ", ..." : ""}`;
  }

  /** The record of RecordUsage, or why it is none. `path` leads to the request: empty, or "requests[7]." for an item of a batch. */
  record(request: RecordUsageRequest, path = ""): UsageRecord | MeteringError {
    const found = new Violations();
    const { record } = request;
    if (record === undefined) {
      found.add("invalid_record", `${path}record`, "is required");
      return failureOf(found);
    }
    checkText(found, path, "idempotency_key", keyProblem(record.idempotencyKey));
    checkText(found, path, "customer_id", textProblem(record.customerId, 1, ID_MAX));
    checkText(found, path, "api_key_id", textProblem(record.apiKeyId, 0, ID_MAX));
    checkText(found, path, "model", textProblem(record.model, 0, ID_MAX));
    const nowMs = this.#clock.nowMs();
    const eventTimeMs = eventTimeOf(found, path, record.eventTime, nowMs);
    const measurements = this.#measurementsOf(found, path, record.measurements);
    const labels = labelsOf(found, path, record.labels);
    if (found.any) return failureOf(found);
    const { idempotencyKey, customerId, apiKeyId, model, eventTime: sentEventTime } = record;
    const sent = { customerId, idempotencyKey, apiKeyId, model, measurements, labels, sentEventTime };
    const fingerprint = fingerprintOf(sent);
    return { customerId, idempotencyKey, apiKeyId, eventTimeMs, model, measurements, labels, fingerprint };
  }

  /** Each item's record or why it is none, in order. Throws `invalid_request` where the batch itself is out of bounds. */
  batch(request: BatchRecordUsageRequest): (UsageRecord | MeteringError)[] {
    const { requests } = request;
    if (requests.length === 0 || requests.length > BATCH_MAX) {
      const found = new Violations();
      found.add("invalid_request", "requests", `must hold 1..${BATCH_MAX} items, not ${requests.length}`);
      throw failureOf(found);
    }
    return requests.map((item, i) => this.record(item, `requests[${i}].`));
  }

  #measurementsOf(found: Violations, path: string, sent: readonly SentMeasurement[]): Measurement[] {
    if (sent.length === 0) found.add("invalid_record", `${path}record.measurements`, "is required");
    if (sent.length > MEASUREMENTS_MAX)
      found.add("invalid_record", `${path}record.measurements`, `must be at most ${MEASUREMENTS_MAX}`);
    const measurements: Measurement[] = [];
    for (const { meter, quantity } of sent) {
      const i = measurements.length;
      if (i === MEASUREMENTS_MAX) break;
      if (!this.#catalog.meters.has(meter)) {
        const reserved = meter === REQUESTS_METER ? "is counted by the service and may not be sent" : undefined;
        found.add("unknown_meter", `${path}record.measurements[${i}].meter`, reserved ?? this.#unknownMeter);
      } else if (isAmong(measurements, meter)) {
        found.add("invalid_record", `${path}record.measurements[${i}].meter`, "must occur only once");
      }
      if (quantity < 0n || quantity > QUANTITY_MAX)
        found.add("invalid_record", `${path}record.measurements[${i}].quantity`, `must be 0..${QUANTITY_MAX}`);
      measurements.push({ meter, quantity });
    }
    return measurements.length < 2 ? measurements : measurements.sort((a, b) => compareText(a.meter, b.meter));
  }
}

/** What `found` amounts to; only called where it holds something. */
function failureOf(found: Violations): MeteringError {
  const error = found.toError();
  if (error === undefined) throw new Error("a failure without a violation");
  return error;
}

function checkText(found: Violations, path: string, field: string, problem: string | undefined): void {
  if (problem !== undefined) found.add("invalid_record", `${path}record.${field}`, problem);
}

function isAmong(measurements: readonly Measurement[], meter: string): boolean {
  for (const earlier of measurements) if (earlier.meter === meter) return true;
  return false;
}

/** Milliseconds; the time of receipt where none was sent. */
function eventTimeOf(found: Violations, path: string, sent: Timestamp | undefined, nowMs: number): number {
  if (sent === undefined) return nowMs;
  if (sent.nanos < 0 || sent.nanos > NANOS_MAX)
    found.add("invalid_record", `${path}record.event_time.nanos`, `must be 0..${NANOS_MAX}`);
  const timeMs = Number(sent.seconds) * 1000 + Math.floor(sent.nanos / 1_000_000);
  if (timeMs < nowMs - EVENT_TIME_BACK_MS)
    found.add("event_time_out_of_range", `${path}record.event_time`, "must be at most 35 days back");
  if (timeMs > nowMs + EVENT_TIME_AHEAD_MS)
    found.add("event_time_out_of_range", `${path}record.event_time`, "must be at most 5 minutes ahead");
  return timeMs;
}

const NO_LABELS: readonly (readonly [string, string])[] = [];

function labelsOf(
  found: Violations,
  path: string,
  sent: Readonly<Record<string, string>>,
): readonly (readonly [string, string])[] {
  const labels = Object.entries(sent);
  if (labels.length === 0) return NO_LABELS;
  if (labels.length > LABELS_MAX) found.add("invalid_record", `${path}record.labels`, `must be at most ${LABELS_MAX}`);
  if (labels.length > LABELS_MAX) labels.length = LABELS_MAX;
  for (const [key, value] of labels) {
    const problem = textProblem(value, 0, LABEL_VALUE_MAX);
    if (LABEL_KEY.test(key) && problem === undefined) continue;
    const field = `${path}record.labels[${JSON.stringify(key.slice(0, LABEL_KEY_SHOWN))}]`;
    if (!LABEL_KEY.test(key)) found.add("invalid_record", field, "must have a key of 1..64 characters of a-z, 0-9, _");
    if (problem !== undefined) found.add("invalid_record", field, problem);
  }
  return labels.sort(([a], [b]) => compareText(a, b));
}

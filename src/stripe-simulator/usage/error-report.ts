// What asynchronous validation found wrong in one window, as Stripe reports it: one thin event a meter, one for all names without.
import { toRfc3339 } from "../http/v2.ts";
import type { Account } from "../state/account.ts";
import type { ErrorCode } from "./error-codes.ts";

interface Sample {
  readonly error_message: string;
  readonly request: { readonly identifier: string };
}

interface ErrorType {
  readonly code: ErrorCode;
  error_count: number;
  /** Some of them: a client must not take the list for complete. */
  readonly sample_errors: Sample[];
}

/** Half-open, milliseconds. */
export interface ValidationWindow {
  readonly start: number;
  readonly end: number;
}

/** Collects errors, then emits their events. */
export class ErrorReport {
  readonly #window: ValidationWindow;
  readonly #samplesMax: number;
  /** By meter, undefined for none, then by code. */
  readonly #byMeter = new Map<string | undefined, Map<ErrorCode, ErrorType>>();

  constructor(window: ValidationWindow, samplesMax: number) {
    this.#window = window;
    this.#samplesMax = samplesMax;
  }

  get isEmpty(): boolean {
    return this.#byMeter.size === 0;
  }

  add(meterId: string | undefined, code: ErrorCode, message: string, identifier: string): void {
    const types = this.#byMeter.get(meterId) ?? new Map<ErrorCode, ErrorType>();
    this.#byMeter.set(meterId, types);
    const type = types.get(code) ?? { code, error_count: 0, sample_errors: [] };
    types.set(code, type);
    type.error_count += 1;
    if (type.sample_errors.length < this.#samplesMax) {
      type.sample_errors.push({ error_message: message, request: { identifier } });
    }
  }

  emit(account: Account): void {
    for (const [meterId, types] of this.#byMeter) {
      const errorTypes = [...types.values()];
      const count = errorTypes.reduce((sum, type) => sum + type.error_count, 0);
      const data = {
        developer_message_summary: count === 1 ? "There is 1 invalid event" : `There are ${count} invalid events`,
        reason: { error_count: count, error_types: errorTypes },
        validation_start: toRfc3339(this.#window.start),
        validation_end: toRfc3339(this.#window.end),
      };
      if (meterId === undefined) {
        account.emitThin("v1.billing.meter.no_meter_found", data);
        continue;
      }
      const url = `/v1/billing/meters/${meterId}`;
      account.emitThin("v1.billing.meter.error_report_triggered", data, { id: meterId, type: "billing.meter", url });
    }
  }
}

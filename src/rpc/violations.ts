// Collects what is wrong with a request, all of it, and turns it into one failure.
import { type FieldViolation, MeteringError } from "../domain/errors.ts";

/** What a violation breaks. A record's failure is of the first kind in RECORD_KINDS that occurs. */
export type ViolationKind = "invalid_request" | "invalid_record" | "unknown_meter" | "event_time_out_of_range";

/** The order in which kinds name a failure; told to callers at ErrorReason in the proto. */
const PRECEDENCE: readonly ViolationKind[] = [
  "invalid_request",
  "invalid_record",
  "unknown_meter",
  "event_time_out_of_range",
];

/** The violations of one request or record, in the order found. Costs nothing while there are none. */
export class Violations {
  #found: FieldViolation[] | undefined;
  #first = PRECEDENCE.length;

  get any(): boolean {
    return this.#found !== undefined;
  }

  /** `field` is the path as in the proto; `description` completes the sentence that begins with it: "must be ...". */
  add(kind: ViolationKind, field: string, description: string): void {
    this.#found ??= [];
    this.#found.push({ field, description });
    this.#first = Math.min(this.#first, PRECEDENCE.indexOf(kind));
  }

  /** The failure, its message naming the first violation and how many more there are. Undefined where there is none. */
  toError(): MeteringError | undefined {
    const kind = PRECEDENCE[this.#first];
    const first = this.#found?.[0];
    if (this.#found === undefined || kind === undefined || first === undefined) return undefined;
    const more = this.#found.length - 1;
    const message = `${first.field} ${first.description}${more > 0 ? ` (and ${more} more)` : ""}`;
    return new MeteringError({ kind, violations: this.#found }, message);
  }
}

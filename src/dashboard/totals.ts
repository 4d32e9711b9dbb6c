// What a stream of absolute totals says now.
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { StreamUsageResponse } from "../../gen/metering/v1/metering_service_pb.ts";
import type { Interval, UsageTotal } from "../../gen/metering/v1/usage_pb.ts";

export interface Share {
  readonly name: string;
  readonly quantity: bigint;
}

/** Totals by meter and dimensions, as last told. */
export class Totals {
  #rows = new Map<string, UsageTotal>();
  /** What they run over; undefined before the first snapshot. */
  interval: Interval | undefined;
  /** Every record acknowledged before it is in them, by the server's clock. */
  watermark: Timestamp | undefined;

  /** A snapshot takes the place of all, an update only of what it names. */
  apply({ event, watermarkTime }: StreamUsageResponse): void {
    this.watermark = watermarkTime ?? this.watermark;
    if (event.case === "snapshot") {
      this.#rows = new Map();
      this.interval = event.value.interval;
    }
    if (event.case === "snapshot" || event.case === "update")
      for (const total of event.value.totals) this.#rows.set(keyOf(total), total);
  }

  /** Sum over the meters that `counts` takes. */
  sum(counts: (meter: string) => boolean): bigint {
    let sum = 0n;
    for (const { meter, quantity } of this.#rows.values()) if (counts(meter)) sum += quantity;
    return sum;
  }

  /** The same, split by `nameOf`, most first; what is 0 is left out. */
  split(counts: (meter: string) => boolean, nameOf: (total: UsageTotal) => string): Share[] {
    const sums = new Map<string, bigint>();
    for (const total of this.#rows.values()) {
      if (!counts(total.meter)) continue;
      const name = nameOf(total);
      sums.set(name, (sums.get(name) ?? 0n) + total.quantity);
    }
    return [...sums]
      .filter(([, quantity]) => quantity !== 0n)
      .map(([name, quantity]) => ({ name, quantity }))
      .sort((a, b) => (a.quantity === b.quantity ? (a.name < b.name ? -1 : 1) : a.quantity > b.quantity ? -1 : 1));
  }
}

function keyOf({ customerId, meter, model, apiKeyId }: UsageTotal): string {
  return JSON.stringify([customerId, meter, model, apiKeyId]);
}

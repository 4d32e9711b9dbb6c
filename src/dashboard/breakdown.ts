// Tokens of one customer, by what they are split.
import type { UsageTotal } from "../../gen/metering/v1/usage_pb.ts";
import { percent, ratio, whole } from "./format.ts";
import { Table } from "./table.ts";
import type { Totals } from "./totals.ts";

const EMPTY = "No tokens in this period yet.";

/** One of the ways to split them, as a table. */
export class Breakdown {
  readonly table: Table;
  readonly #nameOf: (total: UsageTotal) => string;
  readonly #label: (name: string) => string;

  /** `label` writes a name for people; the empty one too. */
  constructor(by: string, nameOf: (total: UsageTotal) => string, label: (name: string) => string) {
    this.table = new Table(`Usage by ${by}`, [by.charAt(0).toUpperCase() + by.slice(1), "Tokens", "Share"], EMPTY);
    this.#nameOf = nameOf;
    this.#label = label;
  }

  show(totals: Totals, counts: (meter: string) => boolean): void {
    const all = totals.sum(counts);
    this.table.show(
      totals.split(counts, this.#nameOf).map(({ name, quantity }) => ({
        key: name,
        name: this.#label(name),
        cells: [whole(quantity), percent(quantity, all)],
        share: ratio(quantity, all),
      })),
    );
  }
}

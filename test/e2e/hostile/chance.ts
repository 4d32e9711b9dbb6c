// Everything that a fuzzer draws, from one seed.
import { randomFrom } from "../../support/seed.ts";

export class Chance {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = randomFrom(seed);
  }

  /** 0..limit-1. */
  below(limit: number): number {
    return Math.floor(this.#next() * limit);
  }

  /** True in one of n. */
  one(n: number): boolean {
    return this.below(n) === 0;
  }

  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }

  /** min..max bytes. */
  bytes(max: number, min = 0): Buffer {
    return Buffer.from(Array.from({ length: min + this.below(max - min + 1) }, () => this.below(256)));
  }

  /** The same with some bytes changed, lost, repeated or added. */
  mutated(bytes: Buffer): Buffer {
    let out = Buffer.from(bytes);
    for (let n = 1 + this.below(4); n > 0; n -= 1) {
      const at = this.below(out.length + 1);
      const kinds = [
        () => Buffer.concat([out.subarray(0, at), this.bytes(8), out.subarray(at)]),
        () => Buffer.concat([out.subarray(0, at), out.subarray(at + this.below(8))]),
        () => Buffer.concat([out.subarray(0, at), out]),
        () => out.map((byte, i) => (i === at ? this.below(256) : byte)) as Buffer,
        () =>
          Buffer.concat([
            out.subarray(0, at),
            Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            out.subarray(at),
          ]),
      ];
      out = Buffer.from(this.of(kinds)());
    }
    return out;
  }
}

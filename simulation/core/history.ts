// What happened, in short lines. Kept only when it is to be printed: a seed gives the same history again.
import { hash } from "node:crypto";

export interface Line {
  readonly atMs: number;
  readonly text: string;
  /** What the line is about: keys, customers, identifiers, shards. */
  readonly about: readonly string[];
}

export class History {
  readonly #nowMs: () => number;
  readonly #lines: Line[] | undefined;

  constructor(nowMs: () => number, kept: boolean) {
    this.#nowMs = nowMs;
    this.#lines = kept ? [] : undefined;
  }

  /** `write` is called only when lines are kept. Without `about`, a line is about everything: a death, an outage. */
  note(write: () => string, ...about: readonly string[]): void {
    this.#lines?.push({ atMs: this.#nowMs(), text: write(), about });
  }

  /** Of all lines: two plays of a seed have the same. */
  digest(): string {
    return hash("sha256", JSON.stringify(this.#lines ?? []), "hex");
  }

  /** The last lines about the first of `subjects`, and after them those about others or about everything, at most `limit` of each. */
  about(subjects: readonly string[], limit: number): readonly string[] {
    const [first] = subjects;
    const lines = this.#lines ?? [];
    const own = lines.filter(({ about }) => first !== undefined && about.includes(first)).slice(-limit);
    const rest = lines
      .filter((line) => !own.includes(line))
      .filter(({ about }) => about.length === 0 || about.some((one) => subjects.includes(one)))
      .slice(-limit);
    return [...own, ...rest]
      .sort((a, b) => lines.indexOf(a) - lines.indexOf(b))
      .map(({ atMs, text }) => `${new Date(atMs).toISOString().slice(0, 23)}  ${text}`);
  }
}

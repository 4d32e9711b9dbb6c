// A line on the terminal that shows how far long work has come. Nothing where no person looks.

export interface ProgressOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const REDRAW_MS = 100;
const ERASE_LINE = "\r\u001b[K";

export class Progress {
  readonly #output: ProgressOutput;
  readonly #label: string;
  readonly #total: number;
  #drawnAtMs = Number.NEGATIVE_INFINITY;

  /** `output` is usually process.stderr, so that what a command prints stays clean. */
  constructor(label: string, total: number, output: ProgressOutput) {
    this.#label = label;
    this.#total = total;
    this.#output = output;
  }

  /** Shows that `done` of the total are done; at most ten times a second. */
  show(done: number, note = ""): void {
    if (!this.#output.isTTY) return;
    const nowMs = performance.now();
    if (nowMs - this.#drawnAtMs < REDRAW_MS && done < this.#total) return;
    this.#drawnAtMs = nowMs;
    const percent = this.#total > 0 ? Math.floor((done / this.#total) * 100) : 100;
    const line = `${this.#label} ${done}/${this.#total} (${percent} %)${note === "" ? "" : ` ${note}`}`;
    this.#output.write(ERASE_LINE + line.slice(0, (this.#output.columns ?? 80) - 1));
  }

  /** Takes the line away. */
  end(): void {
    if (this.#output.isTTY) this.#output.write(ERASE_LINE);
  }
}

/** Long work whose end is not known: how far it has come, in words. */
export class OpenProgress {
  readonly #output: ProgressOutput;
  #drawnAtMs = Number.NEGATIVE_INFINITY;

  constructor(output: ProgressOutput) {
    this.#output = output;
  }

  /** Shows a line; at most ten times a second. */
  show(line: string): void {
    if (!this.#output.isTTY || performance.now() - this.#drawnAtMs < REDRAW_MS) return;
    this.#drawnAtMs = performance.now();
    this.#output.write(ERASE_LINE + line.slice(0, (this.#output.columns ?? 80) - 1));
  }

  /** Takes the line away. */
  end(): void {
    if (this.#output.isTTY) this.#output.write(ERASE_LINE);
  }
}

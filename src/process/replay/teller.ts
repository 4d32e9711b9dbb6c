// What a replay shows while it runs: steps that come and go on a terminal, and lines that stay.
import { Progress, type ProgressOutput } from "../progress.ts";

export class Teller {
  readonly #output: ProgressOutput;
  #step = "";
  #progress: Progress | undefined;

  constructor(output: ProgressOutput) {
    this.#output = output;
  }

  /** Shows how far a step has come; a new step takes the place of the last. */
  progress(step: string, done: number, total: number): void {
    if (this.#progress === undefined || step !== this.#step) {
      this.end();
      this.#progress = new Progress(step, total, this.#output);
      this.#step = step;
    }
    this.#progress.show(done);
  }

  /** Writes one line. */
  note(line: string): void {
    this.end();
    this.#output.write(`metering: ${line}\n`);
  }

  /** Takes away what progress() shows. */
  end(): void {
    this.#progress?.end();
    this.#progress = undefined;
  }
}

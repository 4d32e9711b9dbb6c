// What the service logged: how often each warning and error, and the last of each with its fields.
import type { Logger } from "../src/app/ports/logger.ts";

export class Notebook {
  readonly #lines = new Map<string, { count: number; last: object }>();

  readonly logger: Logger = {
    debug() {},
    info() {},
    warn: (fields, message) => this.#note("warn", fields, message),
    error: (fields, message) => this.#note("error", fields, message),
  };

  get counts(): Record<string, number> {
    return Object.fromEntries([...this.#lines].map(([line, { count }]) => [line, count]));
  }

  /** The fields of the last line of each message. */
  get last(): Record<string, object> {
    return Object.fromEntries([...this.#lines].map(([line, { last }]) => [line, last]));
  }

  #note(level: string, fields: object, message: string): void {
    const line = `${level}: ${message}`;
    this.#lines.set(line, { count: (this.#lines.get(line)?.count ?? 0) + 1, last: fields });
  }
}

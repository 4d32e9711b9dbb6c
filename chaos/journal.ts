// A client's journal: what it sent, written before it is sent, and what it was told, written after. Each line is one write of its own, so
// that it survives a SIGKILL of the client; only the machine's end could take it away, and that ends the whole test.
import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import type { Usage } from "./usage.ts";

/** How the service answered. reused: ALREADY_EXISTS. Anything else for good is the name of its code, with its reason. */
export type Told = "recorded" | "duplicate" | "reused" | (string & {});

export interface SentLine {
  readonly atMs: number;
  /** Number of the delivery in its journal. */
  readonly n: number;
  readonly usage: Usage;
}

export interface ToldLine {
  readonly atMs: number;
  readonly n: number;
  readonly told: Told;
}

/** What one journal holds, in order. */
export interface JournalContent {
  readonly sent: readonly SentLine[];
  readonly told: readonly ToldLine[];
  /** Attempts that ended without an answer for good, and were made again. */
  readonly unanswered: number;
  /** Processes that wrote it, one after the other. */
  readonly lives: number;
}

type Line =
  | readonly ["began", number]
  | readonly ["sent", number, number, Usage]
  | readonly ["told", number, number, Told]
  | readonly ["again", number, number, string];

export class Journal {
  readonly #fd: number;

  constructor(file: string, nowMs: number) {
    this.#fd = openSync(file, "a");
    this.#write(["began", nowMs]);
  }

  sent(atMs: number, n: number, usage: Usage): void {
    this.#write(["sent", atMs, n, usage]);
  }

  told(atMs: number, n: number, told: Told): void {
    this.#write(["told", atMs, n, told]);
  }

  /** An attempt failed, and the same will be sent again. */
  again(atMs: number, n: number, code: string): void {
    this.#write(["again", atMs, n, code]);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #write(line: Line): void {
    writeSync(this.#fd, `${JSON.stringify(line)}\n`);
  }
}

/** Nothing, where there is no such file. */
export function readJournal(file: string): JournalContent {
  const sent: SentLine[] = [];
  const told: ToldLine[] = [];
  let unanswered = 0;
  let lives = 0;
  for (const text of existsSync(file) ? readFileSync(file, "utf8").split("\n") : []) {
    if (text === "") continue;
    const line = JSON.parse(text) as Line;
    if (line[0] === "sent") sent.push({ atMs: line[1], n: line[2], usage: line[3] });
    else if (line[0] === "told") told.push({ atMs: line[1], n: line[2], told: line[3] });
    else if (line[0] === "again") unanswered += 1;
    else lives += 1;
  }
  return { sent, told, unanswered, lives };
}

/** Deliveries of which nobody knows how they ended, in order. */
export function openDeliveries({ sent, told }: JournalContent): readonly SentLine[] {
  const ended = new Set(told.map(({ n }) => n));
  return sent.filter(({ n }) => !ended.has(n));
}

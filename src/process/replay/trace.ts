// Reads an LLM trace: TIMESTAMP,ContextTokens,GeneratedTokens, one row a request, as Azure publishes them.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

/** One request of the trace. */
export interface TraceRow {
  /** From 0. */
  readonly index: number;
  /** Nanoseconds since the epoch, UTC. */
  readonly timeNs: bigint;
  readonly inputTokens: bigint;
  readonly outputTokens: bigint;
}

/** What a whole trace holds. */
export interface TraceSurvey {
  readonly records: number;
  readonly earliestNs: bigint;
  readonly latestNs: bigint;
}

/** The trace cannot be used; the message names the file, the line where there is one, and what is wrong. */
export class TraceError extends Error {
  override readonly name = "TraceError";
}

const HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens";
const ROW = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?,(\d+),(\d+)$/;
/** Most of one measurement. */
const QUANTITY_MAX = 1_000_000_000_000n;
const NS_PER_MS = 1_000_000n;

/** Row by row, in constant memory. Line ends are LF or CRLF, with or without one after the last row. Throws TraceError. */
export async function* readTrace(file: string): AsyncGenerator<TraceRow, void> {
  const input = createReadStream(file, "utf8");
  let lineNumber = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      lineNumber += 1;
      if (lineNumber > 1) yield parseRow(line, lineNumber, file);
      else if (line !== HEADER) throw problem(file, 1, `must be the header ${HEADER}`, line);
    }
  } catch (cause) {
    if (!(cause instanceof Error && "syscall" in cause)) throw cause;
    throw new TraceError(`${file} cannot be read: ${cause.message}`, { cause });
  } finally {
    input.destroy();
  }
}

/** Reads the whole trace once, checking every row. Throws TraceError, also when there is no row. */
export async function surveyTrace(file: string): Promise<TraceSurvey> {
  let records = 0;
  let earliestNs: bigint | undefined;
  let latestNs: bigint | undefined;
  for await (const { timeNs } of readTrace(file)) {
    records += 1;
    if (earliestNs === undefined || timeNs < earliestNs) earliestNs = timeNs;
    if (latestNs === undefined || timeNs > latestNs) latestNs = timeNs;
  }
  if (earliestNs === undefined || latestNs === undefined) throw new TraceError(`${file} has no rows`);
  return { records, earliestNs, latestNs };
}

function parseRow(line: string, lineNumber: number, file: string): TraceRow {
  const [, date, time, fraction = "", context = "", generated = ""] = ROW.exec(line) ?? [];
  if (date === undefined) throw problem(file, lineNumber, "must be YYYY-MM-DD hh:mm:ss.fffffff,tokens,tokens", line);
  const timeMs = Date.parse(`${date}T${time}Z`);
  // Date.parse takes the 30th of February for the 2nd of March.
  if (Number.isNaN(timeMs) || !new Date(timeMs).toISOString().startsWith(`${date}T${time}`))
    throw problem(file, lineNumber, "names a time that does not exist", line);
  const inputTokens = BigInt(context);
  const outputTokens = BigInt(generated);
  if (inputTokens > QUANTITY_MAX || outputTokens > QUANTITY_MAX)
    throw problem(file, lineNumber, `has more than ${QUANTITY_MAX} tokens`, line);
  const timeNs = BigInt(timeMs) * NS_PER_MS + BigInt(fraction.padEnd(9, "0"));
  return { index: lineNumber - 2, timeNs, inputTokens, outputTokens };
}

function problem(file: string, lineNumber: number, what: string, line: string): TraceError {
  const shown = line.length > 100 ? `${line.slice(0, 100)}...` : line;
  return new TraceError(`${file}, line ${lineNumber}: ${what}, not ${JSON.stringify(shown)}`);
}

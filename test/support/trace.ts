// The LLM trace that end-to-end tests replay.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { randomFrom } from "./seed.ts";

export interface Trace {
  readonly file: string;
  readonly records: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/**
 * The "code" half of the Azure LLM inference trace 2023 (github.com/Azure/AzurePublicDataset, CC-BY 4.0): kept beside the project, never in it.
 */
const AZURE: Trace = {
  file: fileURLToPath(new URL("../../../shared/data/azure-llm-2023-code.csv", import.meta.url)),
  records: 8_819,
  inputTokens: 18_059_974,
  outputTokens: 245_896,
};

const HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens";
const SPAN_MS = 57 * 60_000;

/** The Azure trace; where it is not there, a made-up one of the same size, and a word about it. */
export function fullTrace(): Trace {
  if (existsSync(AZURE.file)) return AZURE;
  process.stderr.write(`${AZURE.file} is not there: replaying a made-up trace of the same size\n`);
  return madeUpTrace(AZURE.records);
}

/** Its first so many rows; the file goes when the current test ends. */
export function startOfTrace(records: number): Trace {
  const [header = "", ...rows] = readFileSync(fullTrace().file, "utf8")
    .split("\r\n")
    .slice(0, records + 1);
  const sumOf = (column: number) => rows.reduce((sum, row) => sum + Number(row.split(",")[column]), 0);
  return {
    file: writeTrace([header, ...rows].join("\r\n")),
    records: rows.length,
    inputTokens: sumOf(1),
    outputTokens: sumOf(2),
  };
}

/** So many rows over 57 minutes, the same at every call; the file goes when the current test ends. */
export function madeUpTrace(records: number): Trace {
  const random = randomFrom(records);
  let inputTokens = 0;
  let outputTokens = 0;
  const startMs = Date.UTC(2023, 10, 16, 18, 17);
  const rows = Array.from({ length: records }, (_, i) => {
    const at = new Date(startMs + Math.floor((SPAN_MS * i) / records)).toISOString();
    const input = 1 + Math.floor(random() * 4_000);
    const output = Math.floor(random() * 60);
    inputTokens += input;
    outputTokens += output;
    return `${at.slice(0, 10)} ${at.slice(11, 23)}0000,${input},${output}`;
  });
  return { file: writeTrace([HEADER, ...rows].join("\r\n")), records, inputTokens, outputTokens };
}

/** Writes text to a file that goes when the current test ends. */
export function writeTrace(text: string): string {
  const dir = mkdtempSync(join(tmpdir(), "metering-test-trace-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, "trace.csv");
  writeFileSync(file, text);
  return file;
}

// Reads keys of records to be voided: customer_id,idempotency_key, one a line.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { ID_MAX, keyProblem, textProblem } from "../../rpc/text-bounds.ts";

export interface RecordKey {
  readonly customerId: string;
  readonly idempotencyKey: string;
}

/** The file cannot be used; the message names it, the line where there is one, and what is wrong. */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
}

const HEADER = "customer_id,idempotency_key";
/** Two fields, each plain or in quotes, a quote within them doubled (RFC 4180). No field holds a line end: ids have no control characters. */
const ROW = /^(?:"((?:[^"]|"")*)"|([^",]*)),(?:"((?:[^"]|"")*)"|([^",]*))$/;

/**
 * Key by key, in constant memory. A first line that is the header is passed over, and so are empty lines. Line ends are LF or CRLF.
 * Throws KeyFileError.
 */
export async function* readKeys(file: string): AsyncGenerator<RecordKey, void> {
  const input = createReadStream(file, "utf8");
  let lineNumber = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      lineNumber += 1;
      if (line !== "" && !(lineNumber === 1 && line === HEADER)) yield parseLine(line, lineNumber, file);
    }
  } catch (cause) {
    if (!(cause instanceof Error && "syscall" in cause)) throw cause;
    throw new KeyFileError(`${file} cannot be read: ${cause.message}`, { cause });
  } finally {
    input.destroy();
  }
}

/** Reads the whole file once, checking every line; how many keys there are. Throws KeyFileError, also when there is none. */
export async function countKeys(file: string): Promise<number> {
  let keys = 0;
  for await (const _ of readKeys(file)) keys += 1;
  if (keys === 0) throw new KeyFileError(`${file} has no keys`);
  return keys;
}

/** The key as a line that readKeys reads. */
export function toLine({ customerId, idempotencyKey }: RecordKey): string {
  return [customerId, idempotencyKey]
    .map((field) => (/[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field))
    .join(",");
}

/** What is wrong with a key; undefined when nothing is. */
export function problemOf({ customerId, idempotencyKey }: RecordKey): string | undefined {
  const customer = textProblem(customerId, 1, ID_MAX);
  if (customer !== undefined) return `customer_id ${customer}`;
  const key = keyProblem(idempotencyKey);
  return key === undefined ? undefined : `idempotency_key ${key}`;
}

function parseLine(line: string, lineNumber: number, file: string): RecordKey {
  const fields = ROW.exec(line);
  if (fields === null) throw new KeyFileError(`${file}, line ${lineNumber}: must be ${HEADER}`);
  const [, quotedCustomer, plainCustomer = "", quotedKey, plainKey = ""] = fields;
  const customerId = quotedCustomer?.replaceAll('""', '"') ?? plainCustomer;
  const idempotencyKey = quotedKey?.replaceAll('""', '"') ?? plainKey;
  const problem = problemOf({ customerId, idempotencyKey });
  if (problem !== undefined) throw new KeyFileError(`${file}, line ${lineNumber}: ${problem}`);
  return { customerId, idempotencyKey };
}

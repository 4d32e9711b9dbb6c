// What makes the simulator survive a SIGKILL: every command that was carried out, one JSON line each, in order.
import { closeSync, existsSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";

const CHUNK_BYTES = 1 << 20;
const NEWLINE = 0x0a;

/** The data file is not there to be written, or is none. The message names it and says what to do. */
class DataFileError extends Error {
  override readonly name = "DataFileError";
}

/**
 * An append-only file of JSON lines. A line is handed to the operating system before `append` resolves, so it survives the
 * death of the process; it is not fsynced, so it may not survive the machine's. One process at a time may have it open.
 */
export class Journal {
  readonly #fd: number;
  #waiting: { readonly line: string; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Opens or creates the file, gives every whole line to `replay`, and cuts off a torn last one. */
  static open(path: string, replay: (line: unknown) => void): Journal {
    if (existsSync(path)) {
      const fd = openDataFile(path, "r+");
      try {
        ftruncateSync(fd, replayLines(fd, replay));
      } catch (cause) {
        throw new DataFileError(`the data file ${path} cannot be replayed: move it away to start afresh`, { cause });
      } finally {
        closeSync(fd);
      }
    }
    return new Journal(openDataFile(path, "a"));
  }

  /** Resolves once the line is written. Lines of one turn of the event loop share a write. */
  append(line: object): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line: JSON.stringify(line), resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#write());
    });
  }

  close(): void {
    this.#write();
    closeSync(this.#fd);
  }

  #write(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    if (batch.length === 0) return;
    try {
      writeAll(this.#fd, Buffer.from(batch.map(({ line }) => `${line}\n`).join("")));
      for (const { resolve } of batch) resolve();
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}

function openDataFile(path: string, flags: string): number {
  try {
    return openSync(path, flags);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new DataFileError(`the data file ${path} cannot be opened: ${why}`, { cause });
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

/** Returns the length of the part that ends in a newline. */
function replayLines(fd: number, replay: (line: unknown) => void): number {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let rest = Buffer.alloc(0);
  let wholeBytes = 0;
  for (let count = readSync(fd, chunk); count > 0; count = readSync(fd, chunk)) {
    let bytes = Buffer.concat([rest, chunk.subarray(0, count)]);
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
      replay(JSON.parse(bytes.toString("utf8", 0, end)));
      wholeBytes += end + 1;
      bytes = bytes.subarray(end + 1);
    }
    rest = bytes;
  }
  return wholeBytes;
}

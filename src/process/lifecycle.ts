// Start in order, end in reverse order, whatever happens in between.
import type { Logger } from "./logger.ts";

interface Closer {
  readonly name: string;
  readonly close: () => Promise<unknown> | unknown;
}

/** Thrown out of a start that a stop overtook. */
export class StoppedError extends Error {
  override readonly name = "StoppedError";
}

/** What was started, to be ended in reverse order. */
export class Closers {
  readonly #logger: Logger;
  readonly #closers: Closer[] = [];
  #closing: Promise<boolean> | undefined;
  #current = "";

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Name of what is being closed now; empty when nothing is. */
  get current(): string {
    return this.#current;
  }

  /**
   * Remembers how to end something that was just started. When a stop is under way already, ends it at once and throws StoppedError,
   * which ends the start too.
   */
  async add(name: string, close: Closer["close"]): Promise<void> {
    if (this.#closing === undefined) {
      this.#closers.push({ name, close });
      return;
    }
    await this.#closeOne({ name, close });
    throw new StoppedError(`stopped while ${name} was starting`);
  }

  /** Ends everything, the last started first. One close for all callers; never rejects; false when anything failed to end cleanly. */
  close(): Promise<boolean> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<boolean> {
    let clean = true;
    for (let closer = this.#closers.pop(); closer !== undefined; closer = this.#closers.pop())
      clean = (await this.#closeOne(closer)) && clean;
    return clean;
  }

  async #closeOne({ name, close }: Closer): Promise<boolean> {
    this.#current = name;
    try {
      await close();
      return true;
    } catch (err) {
      this.#logger.error({ err }, `${name} did not end cleanly`);
      return false;
    } finally {
      this.#current = "";
    }
  }
}

/** The process, as far as its end is concerned. */
export interface ProcessControl {
  on(signal: StopSignal, listener: () => void): unknown;
  off(signal: StopSignal, listener: () => void): unknown;
  exit(code: number): void;
}

export interface RunOptions {
  /** Starts everything in order, adding each part to `closers`. `died` resolves, with a reason, when a part ends by itself. */
  readonly start: (closers: Closers) => Promise<{ readonly died: Promise<string> }>;
  /** For the whole end. */
  readonly graceMs: number;
  readonly logger: Logger;
  readonly control: ProcessControl;
}

/** Ctrl-C reaches a program under npm twice, from the terminal and from npm: that is one wish. */
const SAME_SIGNAL_MS = 250;
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };
type StopSignal = keyof typeof EXIT_CODES;
const STOP_SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM"] as const;

/**
 * Runs a service until a signal or the death of a part, then ends it; resolves to the exit code: 0 after a signal and a clean end, else 1.
 * A second signal (not the echo of the first), or an end that takes longer than graceMs, exits at once. A start that fails is unwound, then rejects.
 */
export async function runUntilStopped(options: RunOptions): Promise<number> {
  const { logger, control } = options;
  const closers = new Closers(logger);
  const signalled = listenForSignals(control, logger);
  let starting: Promise<unknown> | undefined;
  const end = () => closeWithin(closers, starting, options);
  try {
    const started = options.start(closers);
    starting = started;
    const first = await Promise.race([signalled.promise, started]);
    const why = typeof first === "string" ? first : await Promise.race([signalled.promise, first.died.then(partDied)]);
    logger.info({}, `stopping: ${why}`);
    const clean = await end();
    return clean && !why.startsWith(DIED) ? 0 : 1;
  } catch (cause) {
    await end();
    throw cause;
  } finally {
    signalled.dispose();
  }
}

const DIED = "ended by itself: ";

function partDied(reason: string): string {
  return DIED + reason;
}

function listenForSignals(control: ProcessControl, logger: Logger) {
  const { promise, resolve } = Promise.withResolvers<string>();
  let firstSignal = "";
  let firstMs = 0;
  const listeners = STOP_SIGNALS.map((signal) => {
    const listener = () => {
      if (firstSignal === "") {
        firstSignal = signal;
        firstMs = performance.now();
        return resolve(signal);
      }
      if (signal === firstSignal && performance.now() - firstMs < SAME_SIGNAL_MS) return;
      logger.warn({}, `${signal} again: exiting at once`);
      control.exit(EXIT_CODES[signal]);
    };
    control.on(signal, listener);
    return () => control.off(signal, listener);
  });
  return { promise, dispose: () => listeners.forEach((off) => void off()) };
}

async function closeWithin(
  closers: Closers,
  starting: Promise<unknown> | undefined,
  { graceMs, logger, control }: RunOptions,
): Promise<boolean> {
  const timer = setTimeout(() => {
    logger.error({ graceMs }, `${closers.current || "the start"} did not end in time: exiting`);
    control.exit(1);
  }, graceMs);
  const clean = await closers.close();
  // A start that was overtaken ends at its next step, and has that step ended with it.
  await Promise.allSettled([starting]);
  clearTimeout(timer);
  return clean;
}

import { EventEmitter } from "node:events";
import { pino } from "pino";
import { describe, expect, test, vi } from "vitest";
import { Closers, runUntilStopped, StoppedError } from "../../../src/process/lifecycle.ts";

const logger = pino({ level: "silent" });
const NEVER = new Promise<never>(() => {});

/** A process that only takes notes. */
class Control extends EventEmitter {
  readonly exits: number[] = [];
  readonly exited = Promise.withResolvers<number>();

  exit(code: number): void {
    this.exits.push(code);
    this.exited.resolve(code);
  }
}

describe("Closers", () => {
  test("end in reverse order, once, whoever asks", async () => {
    const closers = new Closers(logger);
    const ended: string[] = [];
    for (const name of ["a", "b", "c"]) await closers.add(name, () => void ended.push(name));
    expect(closers.close()).toBe(closers.close());
    expect(await closers.close()).toBe(true);
    expect(ended).toEqual(["c", "b", "a"]);
  });

  test("one that fails does not keep the others from ending", async () => {
    const closers = new Closers(logger);
    const ended: string[] = [];
    await closers.add("a", () => void ended.push("a"));
    await closers.add("b", () => Promise.reject(new Error("b")));
    expect(await closers.close()).toBe(false);
    expect(ended).toEqual(["a"]);
  });

  test("what is added after the stop is ended at once", async () => {
    const closers = new Closers(logger);
    await closers.close();
    const close = vi.fn();
    await expect(closers.add("late", close)).rejects.toThrow(StoppedError);
    expect(close).toHaveBeenCalledOnce();
  });
});

describe("runUntilStopped", () => {
  test("a signal ends everything and the exit code is 0", async () => {
    const control = new Control();
    const ended: string[] = [];
    const running = runUntilStopped({
      async start(closers) {
        await closers.add("a", () => void ended.push("a"));
        await closers.add("b", () => void ended.push("b"));
        queueMicrotask(() => control.emit("SIGTERM"));
        return { died: NEVER };
      },
      graceMs: 60_000,
      logger,
      control,
    });
    expect(await running).toBe(0);
    expect(ended).toEqual(["b", "a"]);
    expect(control.exits).toEqual([]);
    expect(control.eventNames()).toEqual([]);
  });

  test("a start that fails is unwound, and fails", async () => {
    const close = vi.fn();
    const running = runUntilStopped({
      async start(closers) {
        await closers.add("a", close);
        throw new Error("b cannot start");
      },
      graceMs: 60_000,
      logger,
      control: new Control(),
    });
    await expect(running).rejects.toThrow("b cannot start");
    expect(close).toHaveBeenCalledOnce();
  });

  test("a signal during the start ends what was started, and what is about to", async () => {
    const control = new Control();
    const ended: string[] = [];
    const running = runUntilStopped({
      async start(closers) {
        await closers.add("a", () => void ended.push("a"));
        control.emit("SIGINT");
        await new Promise((resolve) => setImmediate(resolve));
        await closers.add("b", () => void ended.push("b"));
        throw new Error("not reached");
      },
      graceMs: 60_000,
      logger,
      control,
    });
    expect(await running).toBe(0);
    expect(ended).toEqual(["a", "b"]);
  });

  test("a part that ends by itself ends the rest, with exit code 1", async () => {
    const close = vi.fn();
    const running = runUntilStopped({
      async start(closers) {
        await closers.add("a", close);
        return { died: Promise.resolve("the store is gone") };
      },
      graceMs: 60_000,
      logger,
      control: new Control(),
    });
    expect(await running).toBe(1);
    expect(close).toHaveBeenCalledOnce();
  });

  test("an end that hangs is cut off after the grace, with exit code 1", async () => {
    const control = new Control();
    void runUntilStopped({
      async start(closers) {
        await closers.add("hangs", () => NEVER);
        queueMicrotask(() => control.emit("SIGTERM"));
        return { died: NEVER };
      },
      graceMs: 20,
      logger,
      control,
    });
    expect(await control.exited.promise).toBe(1);
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ])("a second signal %s exits at once with %i, its echo does not", async (second, code) => {
    const control = new Control();
    const closing = Promise.withResolvers<void>();
    void runUntilStopped({
      async start(closers) {
        await closers.add("hangs", () => {
          closing.resolve();
          return NEVER;
        });
        // Another signal than the second: two of the same within a moment are one wish.
        queueMicrotask(() => control.emit(second === "SIGINT" ? "SIGTERM" : "SIGINT"));
        return { died: NEVER };
      },
      graceMs: 60_000,
      logger,
      control,
    });
    await closing.promise;
    control.emit(second === "SIGINT" ? "SIGTERM" : "SIGINT");
    expect(control.exits).toEqual([]);
    control.emit(second);
    expect(control.exits).toEqual([code]);
  });
});

// Replays a trace against a deployment by the command line, and says what must come out.
import { expect } from "vitest";
import { CommandProcess, type CommandResult } from "./command.ts";
import type { Service } from "./service.ts";
import type { Trace } from "./trace.ts";

/** Starts `metering replay`. */
export function startReplay(service: Service, trace: Trace, args: readonly string[] = []): CommandProcess {
  return new CommandProcess(
    ["replay", trace.file, "--json", "--target", service.targets, ...args],
    service.environment,
  );
}

/** Asserts exit code 0 and exactly the line: every record once in the ledger and once at Stripe. */
export function expectAllEqual(result: CommandResult, trace: Trace, repeat: number, service: Service): void {
  const { records, inputTokens, outputTokens } = trace;
  const tokens = `"input_tokens":${inputTokens},"output_tokens":${outputTokens}`;
  const line =
    `{"records":${records},"acknowledged":${records},"duplicates":${records * (repeat - 1)},` +
    `"ledger":{${tokens},"requests":${records}},"stripe":{${tokens}},"equal":true}`;
  const context = `${result.stderr}\n${service.complaints}`;
  expect(result.stdout.trimEnd().split("\n").at(-1), context).toBe(line);
  expect(result.exitCode, context).toBe(0);
}

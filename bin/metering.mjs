#!/usr/bin/env node
// Starts the command line under the Node that this package pins, whatever Node started this file. Plain JavaScript that any Node runs.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const pinned = dirname(createRequire(import.meta.url).resolve("node/package.json"));
const cli = fileURLToPath(new URL("../src/process/cli.ts", import.meta.url));
const child = spawn(join(pinned, "bin", "node"), [cli, ...process.argv.slice(2)], { stdio: "inherit" });

// The command line ends in its own time; this process only passes on what it is told, and waits.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.on("error", (error) => {
  process.stderr.write(`metering: the pinned Node cannot be started (${error.message}); run npm ci\n`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(signal === null ? (code ?? 1) : 128 + constants.signals[signal]));

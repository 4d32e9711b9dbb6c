// Programs that other people's clients are made of. Found on the PATH, else installed into .tools/, where CI has them too.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { TestContext } from "vitest";

const run = promisify(execFile);

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const TOOLS = join(ROOT, ".tools");
const GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3";
const GRPCIO_TOOLS = "grpcio-tools==1.76.0";

/** A program, or why there is none. */
export type Tool = { readonly path: string } | { readonly missing: string };

/** grpcurl; built from the Go module proxy where it is not there, which takes minutes. */
export async function findGrpcurl(): Promise<Tool> {
  const built = join(TOOLS, "bin", "grpcurl");
  for (const path of ["grpcurl", built]) if (await succeeds(path, "-version")) return { path };
  if (!(await succeeds("go", "version"))) return missing("neither grpcurl nor Go is on the PATH");
  try {
    await run("go", ["install", GRPCURL], { env: { ...process.env, GOBIN: join(TOOLS, "bin") } });
    return { path: built };
  } catch (cause) {
    return missing(`grpcurl could not be built: ${cause}`);
  }
}

/** A Python that has grpcio-tools; made where it is not there. */
export async function findPython(): Promise<Tool> {
  const home = join(TOOLS, "python");
  const own = join(home, "bin", "python");
  for (const path of ["python3", own]) if (await succeeds(path, "-c", "import grpc_tools, grpc")) return { path };
  if (!(await succeeds("python3", "-c", "import venv, ensurepip"))) return missing("there is no python3 with venv");
  try {
    if (!existsSync(own)) await run("python3", ["-m", "venv", home]);
    await run(own, ["-m", "pip", "install", "--quiet", GRPCIO_TOOLS]);
    return { path: own };
  } catch (cause) {
    return missing(`${GRPCIO_TOOLS} could not be installed: ${cause}`);
  }
}

export async function findCurl(): Promise<Tool> {
  return (await succeeds("curl", "--version")) ? { path: "curl" } : missing("curl is not on the PATH");
}

/** The program's path. Skips the test, saying why, where there is none; under CI that is a failure. */
export function requireTool(tool: Tool, context: TestContext): string {
  if ("path" in tool) return tool.path;
  if (process.env["CI"] !== undefined) throw new Error(`${tool.missing}; under CI it must be there`);
  context.skip(tool.missing);
  return "";
}

/** Runs a program to its end, whatever its exit code. */
export async function runTool(
  path: string,
  args: readonly string[],
  {
    input = "",
    environment = {},
  }: { input?: Uint8Array | string; environment?: Readonly<Record<string, string>> } = {},
) {
  const env = { ...process.env, ...environment };
  return new Promise<{ exitCode: number; stdout: Buffer; stderr: string }>((resolve, reject) => {
    const child = execFile(path, args, { cwd: ROOT, env, encoding: "buffer" }, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : error.code;
      if (typeof exitCode === "number") resolve({ exitCode, stdout, stderr: stderr.toString() });
      else reject(error);
    });
    child.stdin?.end(input);
  });
}

/** Says why on stderr too. */
export function missing(reason: string): Tool {
  process.stderr.write(`SKIPPING tests: ${reason}\n`);
  return { missing: reason };
}

/** Whether the program is there, and ends well with these arguments. */
export async function succeeds(program: string, ...args: string[]): Promise<boolean> {
  return run(program, args).then(
    () => true,
    () => false,
  );
}

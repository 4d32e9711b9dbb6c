// Programs that check what is deployed. Found on the PATH, else installed into .tools/, where CI has them too.
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { missing, succeeds, TOOLS, type Tool } from "../clients/tools.ts";

const run = promisify(execFile);

/** promtool, out of Debian's package of Prometheus; the package itself is not installed, since it starts a server. */
export async function findPromtool(): Promise<Tool> {
  const own = join(TOOLS, "bin", "promtool");
  for (const path of ["promtool", own]) if (await succeeds(path, "--version")) return { path };
  const folder = mkdtempSync(join(tmpdir(), "promtool-"));
  try {
    await run("apt-get", ["download", "-qq", "prometheus"], { cwd: folder });
    const [file = ""] = readdirSync(folder);
    await run("dpkg", ["-x", file, "."], { cwd: folder });
    mkdirSync(join(TOOLS, "bin"), { recursive: true });
    copyFileSync(join(folder, "usr/bin/promtool"), own);
    return { path: own };
  } catch (cause) {
    return missing(`promtool could not be had: ${cause}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

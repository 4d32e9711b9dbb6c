// The version of this program, as its package says.
import { readFileSync } from "node:fs";

/** Such as "0.1.0". Reads a file: call it once. */
export function programVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

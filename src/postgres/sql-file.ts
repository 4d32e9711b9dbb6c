import { readFileSync } from "node:fs";

/** Reads queries/<name>.sql once, at import. A missing file fails the start, not a request. */
export function sqlFile(name: string): string {
  return readFileSync(new URL(`./queries/${name}.sql`, import.meta.url), "utf8");
}

// The dashboard's page, built as `npm run build` builds it.
import { fileURLToPath } from "node:url";
import { build } from "vite";

/** Under a second. */
export async function buildPage(): Promise<void> {
  await build({ configFile: fileURLToPath(new URL("../../vite.config.ts", import.meta.url)) });
}

// The only place that reads process.env.
import type { Environment } from "./parse-config.ts";

/** The environment that this process was started with. */
export function processEnvironment(): Environment {
  return { ...process.env };
}

// Ports that are taken are found before anything is started, and named by their setting.
import { once } from "node:events";
import { createServer } from "node:net";
import type { Config, SettingName } from "./config/parse-config.ts";
import { SETTINGS } from "./config/settings.ts";
import { OperatorError } from "./operator-error.ts";

export type PortName = Extract<SettingName, `${string}Port`>;

/** Throws OperatorError naming every port of `names` that cannot be listened on, and its setting. */
export async function requireFreePorts(config: Config, names: readonly PortName[]): Promise<void> {
  const problems: string[] = [];
  for (const name of names) {
    const problem = config[name] === 0 ? undefined : await listenProblem(config.host, config[name]);
    if (problem !== undefined)
      problems.push(`port ${config[name]} of ${config.host} ${problem}: set ${SETTINGS[name].env} to another`);
  }
  if (problems.length > 0) throw new OperatorError(problems.join("\n"));
}

async function listenProblem(host: string, port: number): Promise<string | undefined> {
  const server = createServer().listen(port, host);
  try {
    await once(server, "listening");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    return code === "EADDRINUSE" ? "is taken" : `cannot be listened on (${message})`;
  }
  server.close();
  await once(server, "close");
  return undefined;
}

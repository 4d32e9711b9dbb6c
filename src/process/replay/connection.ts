// How `metering replay` reaches the service: which addresses, TLS or plain text, and what it shows there.
import { readFileSync } from "node:fs";
import { InvalidArgumentError, Option } from "commander";
import { type ClientTls, MeteringClient } from "../../rpc/client.ts";
import { type Config, LOOPBACK } from "../config/parse-config.ts";
import { OperatorError } from "../operator-error.ts";
import { SYSTEM_CLOCK } from "../system-clock.ts";
import { UnreachableError } from "./patience.ts";

export interface ConnectionOptions {
  readonly target?: readonly string[];
  readonly tls?: true;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface Connection {
  /** host:port each. */
  readonly targets: readonly string[];
  /** One for each target. The caller closes them. */
  readonly clients: readonly MeteringClient[];
  /** What a person should know of it; empty mostly. */
  readonly warning: string;
  /** Rejects with UnreachableError where none of the targets takes a connection. */
  readonly ready: () => Promise<void>;
}

const CONNECT_TIMEOUT_MS = 5_000;

/** Of `replay`. The token comes from the environment alone: whoever may list processes reads their arguments. */
export const CONNECTION_OPTIONS = [
  new Option("--target <host:port,...>", "where the service is; several are called in turn").argParser(parseTargets),
  new Option("--tls", "speak TLS, and trust the well-known authorities"),
  new Option("--ca <file>", "speak TLS, and trust the authorities in this file, PEM"),
  new Option("--cert <file>", "show this certificate, PEM, where the service asks for one; with --key"),
  new Option("--key <file>", "private key of --cert, PEM"),
];

/** Connects with the first call. Throws OperatorError where the files cannot be used. */
export function openConnection(options: ConnectionOptions, config: Config): Connection {
  const targets = options.target ?? [configuredTarget(config)];
  const tls = tlsOf(options, config);
  const token = config.clientToken;
  const client = (target: string) => new MeteringClient(target, SYSTEM_CLOCK, { token, tls });
  let clients: readonly MeteringClient[];
  try {
    clients = targets.map(client);
  } catch (cause) {
    throw new OperatorError(`--ca, --cert and --key cannot be used: ${messageOf(cause)}`, { cause });
  }
  const far = token === undefined || tls !== undefined ? undefined : targets.find((target) => !isLoopback(target));
  return {
    targets,
    clients,
    warning: far === undefined ? "" : `METERING_TOKEN goes to ${far} in plain text: say --tls or --ca`,
    ready: () => requireConnection(clients, tls),
  };
}

/** Undefined: plain text. The service's own settings decide where this is to reach the service that they are of. */
function tlsOf({ target, tls, ca, cert, key }: ConnectionOptions, config: Config): ClientTls | undefined {
  if ((cert === undefined) !== (key === undefined)) throw new OperatorError("--cert and --key go together");
  const isOwn = target === undefined && config.tlsCertFile !== undefined && config.tlsPorts.includes("grpc");
  if (tls === undefined && ca === undefined && cert === undefined && !isOwn) return undefined;
  return { ca: read("--ca", ca), cert: read("--cert", cert), key: read("--key", key) };
}

function read(option: string, file: string | undefined): Buffer | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new OperatorError(`${option} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

async function requireConnection(clients: readonly MeteringClient[], tls: ClientTls | undefined): Promise<void> {
  try {
    await Promise.any(clients.map((client) => client.waitUntilConnected(CONNECT_TIMEOUT_MS)));
  } catch (cause) {
    const hint =
      tls === undefined
        ? "if it speaks TLS, say --tls or --ca"
        : "its certificate must come from an authority that is trusted here and name this host, and mutual TLS asks for --cert and --key";
    throw new UnreachableError(`no connection within ${CONNECT_TIMEOUT_MS / 1000} s; ${hint}`, { cause });
  }
}

function configuredTarget({ host, grpcPort }: Config): string {
  return `${host.includes(":") ? `[${host}]` : host}:${grpcPort}`;
}

function parseTargets(text: string): readonly string[] {
  const addresses = text.split(",").map((address) => address.trim());
  if (addresses.every((address) => /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/.test(address))) return addresses;
  throw new InvalidArgumentError("Must be host:port, several separated by commas.");
}

function isLoopback(target: string): boolean {
  return LOOPBACK.test(target.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1"));
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

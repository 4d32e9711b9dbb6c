// TLS of the ports: certificates out of files, looked at again and again, so that a new one needs no restart.
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { Certificates, TlsFiles } from "../app/ports/certificates.ts";
import type { Config } from "./config/parse-config.ts";
import type { PortKind } from "./config/setting.ts";
import type { Logger } from "./logger.ts";
import { OperatorError } from "./operator-error.ts";
import { SYSTEM_CLOCK } from "./system-clock.ts";

/** How often the files are looked at. Not by file events: those miss the links that Kubernetes swaps. */
const LOOK_MS = 5_000;

/** The certificates of one process. */
export class TlsCertificates {
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #listeners = new Set<() => void>();
  #files: TlsFiles;
  #refused = "";

  /** Throws OperatorError where the files cannot be used. */
  constructor(config: Config, logger: Logger) {
    this.#config = config;
    this.#logger = logger;
    try {
      this.#files = readFiles(config);
    } catch (cause) {
      throw new OperatorError(`METERING_TLS_CERT and its companions cannot be used: ${messageOf(cause)}`, { cause });
    }
  }

  /** What a port needs; undefined where it speaks plain text. */
  for(port: PortKind): Certificates | undefined {
    const { tlsPorts, mtlsPorts, tlsClientCaFile } = this.#config;
    if (!tlsPorts.includes(port)) return undefined;
    return {
      current: () => this.#files,
      asksClients: tlsClientCaFile !== undefined && mtlsPorts.includes(port),
      onChange: (listener) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
    };
  }

  /** Looks at the files once. Ones that cannot be used are refused, with a line in the log, and those in use stay. */
  look(): void {
    try {
      const files = readFiles(this.#config);
      this.#refused = "";
      if (isSame(files, this.#files)) return;
      this.#files = files;
      for (const listener of this.#listeners) listener();
      this.#logger.info({}, "new TLS certificates are in use");
    } catch (err) {
      const message = messageOf(err);
      if (message !== this.#refused) this.#logger.error({ err }, "new TLS files cannot be used; the old ones stay");
      this.#refused = message;
    }
  }

  /** Looks again until the signal aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await SYSTEM_CLOCK.sleep(LOOK_MS, signal);
      if (!signal.aborted) this.look();
    }
  }
}

/** Throws where a file is missing, or key and certificate do not belong together. */
function readFiles({ tlsCertFile = "", tlsKeyFile = "", tlsClientCaFile }: Config): TlsFiles {
  const cert = readFileSync(tlsCertFile);
  const key = readFileSync(tlsKeyFile);
  const ca = tlsClientCaFile === undefined ? undefined : readFileSync(tlsClientCaFile);
  createSecureContext({ cert, key, ...(ca && { ca }) });
  return { cert, key, ca };
}

function isSame(a: TlsFiles, b: TlsFiles): boolean {
  return (
    a.cert.equals(b.cert) &&
    a.key.equals(b.key) &&
    (a.ca === undefined ? b.ca === undefined : b.ca !== undefined && a.ca.equals(b.ca))
  );
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

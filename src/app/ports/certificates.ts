// What a port that speaks TLS is given.

/** PEM. */
export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Authorities of clients' certificates. */
  readonly ca: Buffer | undefined;
}

export interface Certificates {
  current(): TlsFiles;
  /** Whether a client must show a certificate of `ca`. */
  readonly asksClients: boolean;
  /** Calls `listener` when current() has changed: new connections get the new one, old ones live on. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

// Certificates of a made-up authority, for tests of TLS.
import { generate, type SelfsignedOptions } from "selfsigned";

/** PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

const KEYS: SelfsignedOptions = { keyType: "ec", algorithm: "sha256" };

/** One that signs others. */
export async function makeAuthority(name: string): Promise<Identity> {
  const extensions: SelfsignedOptions["extensions"] = [
    { name: "basicConstraints", cA: true, critical: true },
    { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
  ];
  return toIdentity(await generate([{ name: "commonName", value: name }], { ...KEYS, extensions }));
}

/** A certificate of `authority`, for a server on this machine's loopback or for a client. */
export async function issue(authority: Identity, name: string): Promise<Identity> {
  const extensions: SelfsignedOptions["extensions"] = [
    {
      name: "subjectAltName",
      altNames: [
        { type: 2, value: "localhost" },
        { type: 7, ip: "127.0.0.1" },
      ],
    },
  ];
  const ca = { cert: authority.cert, key: authority.key };
  return toIdentity(await generate([{ name: "commonName", value: name }], { ...KEYS, extensions, ca }));
}

function toIdentity({ cert, private: key }: { cert: string; private: string }): Identity {
  return { cert, key };
}

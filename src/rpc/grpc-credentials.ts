// TLS of the gRPC port: hands the port's certificates to grpc-js, new ones too.
import { experimental, ServerCredentials } from "@grpc/grpc-js";
import type { Certificates } from "../app/ports/certificates.ts";

type Provider = experimental.CertificateProvider;
type IdentityListener = Parameters<Provider["addIdentityCertificateListener"]>[0];
type CaListener = Parameters<Provider["addCaCertificateListener"]>[0];

/** Plain text where there are no certificates. */
export function grpcCredentials(certificates: Certificates | undefined): ServerCredentials {
  if (certificates === undefined) return ServerCredentials.createInsecure();
  const provider = new FollowedCertificates(certificates);
  // grpc-js declares the two the other way round than it reads them; the server's own comes first.
  const clients = certificates.asksClients ? provider : null;
  return experimental.createCertificateProviderServerCredentials(provider, clients, certificates.asksClients);
}

class FollowedCertificates implements Provider {
  readonly #certificates: Certificates;
  readonly #stops = new Map<unknown, () => void>();

  constructor(certificates: Certificates) {
    this.#certificates = certificates;
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#follow(listener, () => {
      const { cert, key } = this.#certificates.current();
      listener({ certificate: cert, privateKey: key });
    });
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#follow(listener, () => {
      const { ca } = this.#certificates.current();
      listener(ca === undefined ? null : { caCertificate: ca });
    });
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#stop(listener);
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#stop(listener);
  }

  #follow(listener: unknown, tell: () => void): void {
    this.#stops.set(listener, this.#certificates.onChange(tell));
    // Not at once: grpc-js adds the port that is to be told right after this.
    process.nextTick(tell);
  }

  #stop(listener: unknown): void {
    this.#stops.get(listener)?.();
    this.#stops.delete(listener);
  }
}

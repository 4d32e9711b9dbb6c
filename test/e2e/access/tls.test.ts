// TLS and mutual TLS of every port, of a real service: who gets in, what plain text gets, and what becomes of new certificates.
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MeteringClient } from "../../../src/rpc/client.ts";
import { type Identity, issue, makeAuthority } from "../../support/certificates.ts";
import { testClock } from "../../support/clock.ts";
import {
  ask,
  eventually,
  handshake,
  PORTS,
  speakPlainly,
  startTlsService,
  type TlsService,
} from "../../support/tls-service.ts";

const USAGE = "/metering.v1.MeteringService/GetUsage";

describe("TLS", () => {
  let service: TlsService;
  beforeAll(async () => {
    service = await startTlsService(() => ({}));
  }, 120_000);
  afterAll(() => service.close());

  test.each(PORTS)("%s: shows its certificate, and a client that does not trust it leaves", async (port) => {
    const { authority, ports } = service;
    expect((await handshake(ports[port], authority.cert)).subject.CN).toBe("first");
    const another = await makeAuthority("another authority");
    await expect(handshake(ports[port], another.cert)).rejects.toThrow(/certificate/);
  });

  test("every port does its work", async () => {
    const { authority, ports } = service;
    const { cert } = authority;
    expect(await readByGrpc(service)).toBe("OK");
    expect((await ask(ports.http, USAGE, cert, undefined, '{"customerId":"acme"}')).status).toBe(200);
    expect((await ask(ports.http, "/page.json", cert)).text).toContain("stripeSimulated");
    expect((await ask(ports.webhook, "/webhooks/stripe", cert, undefined, "{}")).text).toContain("signature_missing");
    await eventually(async () => expect((await ask(ports.ops, "/readyz", cert)).status).toBe(200));
  });

  test.each(PORTS)("%s: whoever speaks plain text gets no answer of the service", async (port) => {
    for (const bytes of ["GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]) {
      const heard = await speakPlainly(service.ports[port], bytes);
      // An alert of TLS at most: its type, and six bytes more.
      if (heard !== "") expect([heard.charCodeAt(0), heard.length]).toEqual([0x15, 7]);
    }
  });

  test.each(["TLSv1", "TLSv1.1"] as const)("%s is too old", async (version) => {
    const { authority, ports } = service;
    for (const port of PORTS) {
      const old = { minVersion: version, maxVersion: version, ciphers: "ALL:@SECLEVEL=0" } as const;
      const failed = new Promise<string>((resolve) => {
        const socket = connect({ host: "127.0.0.1", port: ports[port], ca: authority.cert, ...old }, () => {
          resolve(`${port} took ${socket.getProtocol()}`);
          socket.destroy();
        });
        socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      });
      expect(await failed).toMatch(/PROTOCOL_VERSION|ECONNRESET/);
    }
  });

  test("new certificates are used without a restart; what cannot be used is refused, loudly, and the last stays", {
    timeout: 180_000,
  }, async () => {
    const { authority, ports } = service;
    const shown = async () => {
      const peers = await Promise.all(PORTS.map((port) => handshake(ports[port], authority.cert)));
      return peers.map(({ subject }) => subject.CN);
    };
    const everywhere = (name: string) => PORTS.map(() => name);
    expect(await shown()).toEqual(everywhere("first"));
    const second = await issue(authority, "second");
    service.write("server.key", second.key);
    service.write("server.pem", second.cert);
    await eventually(async () => expect(await shown()).toEqual(everywhere("second")));
    expect(await readByGrpc(service)).toBe("OK");

    // Half a file; then a certificate whose key is another's.
    for (const broken of [second.cert.slice(0, 200), (await issue(authority, "third")).cert]) {
      const before = refusals(service);
      service.write("server.pem", broken);
      await eventually(async () => expect(refusals(service)).toBe(before + 1));
      expect(await shown()).toEqual(everywhere("second"));
    }
    // Said once, not every five seconds.
    const said = refusals(service);
    const fourth = await issue(authority, "fourth");
    service.write("server.key", fourth.key);
    service.write("server.pem", fourth.cert);
    await eventually(async () => expect(await shown()).toEqual(everywhere("fourth")));
    expect(refusals(service) - said).toBeLessThanOrEqual(1);
    expect(service.log()).not.toContain("PRIVATE KEY");
  });
});

describe("mutual TLS", () => {
  let service: TlsService;
  let friend: Identity;
  let stranger: Identity;
  let itsAuthority: Identity;
  beforeAll(async () => {
    service = await startTlsService((path) => ({
      METERING_TLS_CLIENT_CA: path("ca.pem"),
      METERING_MTLS_PORTS: "grpc,http,webhook,ops",
    }));
    friend = await issue(service.authority, "a backend");
    itsAuthority = await makeAuthority("the test's authority");
    stranger = await issue(itsAuthority, "a backend");
  }, 120_000);
  afterAll(() => service.close());

  test.each(PORTS)("%s: a client without a certificate, or with another authority's, is refused", async (port) => {
    const { authority, ports } = service;
    await expect(handshake(ports[port], authority.cert)).rejects.toThrow();
    await expect(handshake(ports[port], authority.cert, stranger)).rejects.toThrow();
    expect((await handshake(ports[port], authority.cert, friend)).subject.CN).toBe("first");
  });

  test("every port does its work for a client with one", async () => {
    const { authority, ports } = service;
    const { cert } = authority;
    expect(await readByGrpc(service, friend)).toBe("OK");
    expect(await readByGrpc(service)).toBe("UNAVAILABLE");
    expect(await readByGrpc(service, stranger)).toBe("UNAVAILABLE");
    expect((await ask(ports.http, USAGE, cert, friend, '{"customerId":"acme"}')).status).toBe(200);
    await expect(ask(ports.http, USAGE, cert, undefined, '{"customerId":"acme"}')).rejects.toThrow();
    expect((await ask(ports.webhook, "/webhooks/stripe", cert, friend, "{}")).status).toBe(400);
    await eventually(async () => expect((await ask(ports.ops, "/readyz", cert, friend)).status).toBe(200));
  });

  test("a new authority of clients is used without a restart: its clients get in, and the old one's do not", {
    timeout: 120_000,
  }, async () => {
    const { authority, ports } = service;
    service.write("ca.pem", itsAuthority.cert);
    await eventually(async () => {
      for (const port of PORTS) {
        await handshake(ports[port], authority.cert, stranger);
        await expect(handshake(ports[port], authority.cert, friend)).rejects.toThrow();
      }
    });
    expect(await readByGrpc(service, stranger)).toBe("OK");
    expect(await readByGrpc(service, friend)).toBe("UNAVAILABLE");
  });
});

/** "OK", or the code that reading failed with. */
async function readByGrpc({ authority, ports }: TlsService, identity?: Identity): Promise<string> {
  const shown = identity && { cert: Buffer.from(identity.cert), key: Buffer.from(identity.key) };
  const tls = { ca: Buffer.from(authority.cert), ...shown };
  const client = new MeteringClient(`127.0.0.1:${ports.grpc}`, testClock(), { tls });
  try {
    await client.getUsage({ customerId: "acme" }, 10_000);
    return "OK";
  } catch (cause) {
    return (cause as { code: string }).code;
  } finally {
    client.close();
  }
}

function refusals(service: TlsService): number {
  return service.log().split("new TLS files cannot be used").length - 1;
}

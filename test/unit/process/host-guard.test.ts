// Which names a service may be called by that trusts whoever is on its machine.
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { parseConfig } from "../../../src/process/config/parse-config.ts";
import { guardHost } from "../../../src/process/host-guard.ts";

/** Calls a server that is guarded as these settings say, at 127.0.0.1, by these names; its answers. */
async function answers(environment: Record<string, string>, hosts: readonly string[]): Promise<number[]> {
  const create = guardHost(parseConfig(environment), createServer);
  const server = create({}, (_, response) => response.end("usage")).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const ask = (host: string) =>
    new Promise<number>((resolve, reject) => {
      const asked = request({ host: "127.0.0.1", port, headers: { host }, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      asked.once("error", reject).end();
    });
  return Promise.all(hosts.map(ask));
}

const OWN = [
  "127.0.0.1",
  "127.0.0.1:8080",
  "localhost",
  "LOCALHOST:1",
  "[::1]:8080",
  "app.localhost:8080",
  "127.8.9.1",
];
const FOREIGN = [
  ...["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "xlocalhost"],
  ...["0.0.0.0:8080", "10.0.0.1", "[::]:8080", "[::ffff:7f00:1]", "localhost:80:80", "localhost@evil.example"],
];
const all = (hosts: readonly string[], answer: number) => hosts.map(() => answer);

test("open, on loopback: by its loopback's names alone, whatever a site's name resolves to", async () => {
  expect(await answers({}, OWN)).toEqual(all(OWN, 200));
  expect(await answers({}, FOREIGN)).toEqual(all(FOREIGN, 421));
});

test.each([
  [{ METERING_AUTH: "tokens" }],
  [{ METERING_ALLOW_UNAUTHENTICATED: "true" }],
  [{ METERING_HOST: "0.0.0.0", METERING_AUTH: "tokens" }],
])("by any name with %o: a proxy in front passes on its own", async (environment) => {
  expect(await answers(environment, FOREIGN)).toEqual(all(FOREIGN, 200));
});

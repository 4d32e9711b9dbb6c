// Who calls is asked before what is called for: a request is not looked at, and not waited for, before its caller may make it.
import { once } from "node:events";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningService, startService } from "../../support/service.ts";
import { answersCall } from "../hostile/wire.ts";
import { bearer, callGrpc, makeToken, post, SERVICE } from "./calls.ts";

let running: RunningService;
let reader: string;

beforeAll(async () => {
  running = await startService({
    intake: "postgres",
    processes: ["api"],
    environment: { METERING_AUTH: "tokens" },
  });
  reader = (await makeToken(running.service, "read", "--customers", "acme")).secret;
}, 120_000);
afterAll(() => running.close());

/** A field 1 whose length is beyond the end. */
const GARBAGE = Buffer.from([0x0a, 0xff, 0xff, 0x03, 0x00]);
/** The same as one message of a stream. */
const ENVELOPED = Buffer.concat([Buffer.from([0, 0, 0, 0, GARBAGE.length]), GARBAGE]);
const HUGE = Buffer.alloc(3 << 20, "x");

test.each(["RecordUsage", "BatchRecordUsage", "GetUsage", "StreamUsage"])("%s over gRPC", async (rpc) => {
  expect(await callGrpc(running.service, rpc, GARBAGE, [])).toBe("UNAUTHENTICATED");
  const mayNot = rpc.includes("Record") ? "PERMISSION_DENIED" : "INVALID_ARGUMENT";
  expect(await callGrpc(running.service, rpc, GARBAGE, [`Bearer ${reader}`])).toBe(mayNot);
});

const BODIES: [string, string, Record<string, string>, Buffer][] = [
  ["JSON that is none", "application/json", {}, Buffer.from("{")],
  ["JSON of another message", "application/json", {}, Buffer.from('{"nothing": 1}')],
  ["no encoded message", "application/proto", {}, GARBAGE],
  ["too large", "application/json", {}, HUGE],
  ["not compressed as it says", "application/json", { "content-encoding": "gzip" }, Buffer.from("{}")],
  ["too large once unpacked", "application/json", { "content-encoding": "gzip" }, gzipSync(HUGE)],
  ["packed in an unknown way", "application/json", { "content-encoding": "sevenfold" }, Buffer.from("{}")],
];

test.each(BODIES)("over Connect, a body that is %s", async (_, contentType, headers, body) => {
  const send = async (rpc: string, more: Record<string, string>) => {
    const url = `${running.service.api.httpUrl}/${SERVICE}/${rpc}`;
    const all = { "content-type": contentType, ...headers, ...more };
    const answer = await fetch(url, { method: "POST", headers: all, body: new Uint8Array(body) });
    return ((await answer.json()) as { code: string }).code;
  };
  expect(await send("GetUsage", {})).toBe("unauthenticated");
  expect(await send("RecordUsage", bearer(reader))).toBe("permission_denied");
  expect(await send("GetUsage", bearer(reader))).toMatch(
    /^(invalid_argument|resource_exhausted|unimplemented|internal)$/,
  );
});

test.each(["application/connect+proto", "application/grpc-web+proto"])("a stream of %s", async (contentType) => {
  const send = async (headers: Record<string, string>) => {
    const url = `${running.service.api.httpUrl}/${SERVICE}/StreamUsage`;
    const all = { "content-type": contentType, ...headers };
    const answer = await fetch(url, { method: "POST", headers: all, body: new Uint8Array(ENVELOPED) });
    return `${answer.headers.get("grpc-status")} ${await answer.text()}`;
  };
  expect(await send({})).toMatch(/"code":"unauthenticated"|^16 |grpc-status: 16/);
  expect(await send(bearer(reader))).toMatch(/premature(%20| )EOF/);
});

test("over Connect, a GET", async () => {
  const url = `${running.service.api.httpUrl}/${SERVICE}/GetUsage?connect=v1&encoding=json&message=%7B`;
  expect((await fetch(url)).status).toBe(401);
  expect((await fetch(url, { headers: bearer(reader) })).status).toBe(400);
  // A credential belongs in no URL: those are in every log.
  expect((await fetch(`${url}&authorization=Bearer%20${reader}&access_token=${reader}`)).status).toBe(401);
});

test("over Connect, a body that never comes is not waited for", { timeout: 60_000 }, async () => {
  const { hostname, port } = new URL(running.service.api.httpUrl);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.write(
    `POST /${SERVICE}/RecordUsage HTTP/1.1\r\nhost: ${hostname}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n`,
  );
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 401 /);
  socket.destroy();
});

describe("a header of authorization that comes twice", () => {
  const twice = (good: string) => [
    [good, good],
    [good, "Bearer x"],
    ["Bearer x", good],
    ["", good],
  ];

  test("over Connect it is no credential, whichever is the good one", async () => {
    const good = `Bearer ${reader}`;
    expect(await rawStatus([good])).toBe(200);
    for (const values of twice(good)) expect(await rawStatus(values)).toBe(401);
  });

  // Node's HTTP/2 passes on the first alone: so it is never the second that lets in.
  test("over gRPC the first one counts", async () => {
    const good = `Bearer ${reader}`;
    const port = Number(new URL(`http://${running.service.api.grpcTarget}`).port);
    const acme = Buffer.from([0x0a, 4, ...Buffer.from("acme")]);
    for (const values of [[good], ...twice(good)]) {
      const headers = values.map((value) => ["authorization", value] as const);
      expect(await answersCall(port, `/${SERVICE}/GetUsage`, headers, acme)).toBe(values[0] === good);
    }
  });
});

/** fetch() would join them. */
async function rawStatus(authorizations: readonly string[]): Promise<number> {
  const { hostname, port } = new URL(running.service.api.httpUrl);
  const socket = connect({ host: hostname, port: Number(port) });
  const body = '{"customerId":"acme"}';
  const headers = [
    `POST /${SERVICE}/GetUsage HTTP/1.1`,
    `host: ${hostname}`,
    "content-type: application/json",
    `content-length: ${body.length}`,
    ...authorizations.map((value) => `authorization: ${value}`),
  ];
  socket.write(`${headers.join("\r\n")}\r\n\r\n${body}`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return Number(answer.toString().split(" ")[1]);
}

test("whoever is let in is told of the customer first, and of the rest after it", async () => {
  const question = { customerId: "globex", pageSize: -5, timeZone: "nowhere" };
  expect((await post(running.service, "GetUsage", question, bearer(reader))).body["code"]).toBe("permission_denied");
});

test("over gRPC too, a message that never comes is not waited for", { timeout: 60_000 }, async () => {
  const port = Number(new URL(`http://${running.service.api.grpcTarget}`).port);
  // A megabyte is told, a byte sent, and the stream left open.
  for (const rpc of ["RecordUsage", "StreamUsage"])
    expect(await answersCall(port, `/${SERVICE}/${rpc}`, [], Buffer.from([0x0a]), 1_000_000)).toBe(false);
});

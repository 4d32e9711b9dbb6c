// What strangers send that is no call: it ends no process, and nothing of it is kept.
import { connect } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Client, credentials } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { startTestService } from "./test-service.ts";

/** The first line of the answer to these bytes. */
async function answerTo(port: number, request: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(request);
  for await (const part of socket) return String(part).split("\r\n")[0] ?? "";
  return "hung up";
}

const PATH = "/metering.v1.MeteringService/GetUsage";

test.each([
  ["is none", `POST ${PATH} HTTP/1.1\r\nhost: [\r\n`],
  ["has no port", `GET ${PATH}?encoding=json HTTP/1.1\r\nhost: x:y\r\n`],
  ["was not sent", `POST ${PATH} HTTP/1.0\r\n`],
])("over Connect, a Host that %s: refused, and the next request is served", async (_, head) => {
  const { connectUrl } = await startTestService();
  const port = Number(new URL(connectUrl).port);
  const rest = "content-type: application/json\r\ncontent-length: 0\r\n\r\n";
  expect(await answerTo(port, head + rest)).toBe("HTTP/1.1 400 Bad Request");
  const body = JSON.stringify({ customerId: "c" });
  const headers = { "content-type": "application/json" };
  expect((await fetch(connectUrl + PATH, { method: "POST", headers, body })).status).toBe(200);
});

const NAMES = 60;
const NAME_BYTES = 1_000_000;

function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  return process.memoryUsage().heapUsed;
}

test("over gRPC, health watches of names that strangers make up leave nothing", { timeout: 120_000 }, async () => {
  const { grpcAddress } = await startTestService();
  const client = new Client(grpcAddress, credentials.createInsecure());
  const watch = (name: string) =>
    new Promise<number>((resolve, reject) => {
      const text = Buffer.from(name);
      const length = Buffer.from([0x80 | (text.length & 127), 0x80 | ((text.length >> 7) & 127), text.length >> 14]);
      const message = Buffer.concat([Buffer.from([0x0a]), length, text]);
      const pass = (bytes: Buffer) => bytes;
      const stream = client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", pass, pass, message);
      let status = 0;
      stream.on("data", (answer: Buffer) => {
        status = answer[1] ?? 0;
        stream.cancel();
      });
      stream.on("error", () => (status === 0 ? reject(new Error("no answer")) : resolve(status)));
    });
  await watch("x".repeat(NAME_BYTES));
  const before = heapBytes();
  // 3 is SERVICE_UNKNOWN.
  for (let n = 0; n < NAMES; n += 1) expect(await watch(String(n).padEnd(NAME_BYTES, "x"))).toBe(3);
  expect(heapBytes() - before).toBeLessThan((NAMES * NAME_BYTES) / 3);
  client.close();
});

// What comes at a service that stands in a network: at its gRPC port, its Connect port, and its webhook port.
import { createHmac } from "node:crypto";
import { connect as connectHttp2, constants } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { WEBHOOK_SECRET } from "../../support/service.ts";
import type { Chance } from "./chance.ts";
import { frames, send } from "./wire.ts";

export interface Target {
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly webhookPort: number;
}

const METHODS = MeteringService.methods;
const PATHS = [
  ...METHODS.map((method) => `/${method.parent.typeName}/${method.name}`),
  "/grpc.health.v1.Health/Check",
  "/grpc.health.v1.Health/Watch",
  "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
  "/metering.admin.v1.AdminService/VoidRecord",
  "/",
  "/%00/..//",
];
const LONG_MS = 2_000;

const VALID = {
  record: {
    idempotencyKey: "fuzz",
    customerId: "fuzz",
    model: "openai/gpt-5",
    measurements: [{ meter: "input_tokens", quantity: 3n }],
    labels: { team: "red" },
  },
};

function message(chance: Chance): Buffer {
  const valid = Buffer.from(
    toBinary(MeteringService.method.recordUsage.input, create(MeteringService.method.recordUsage.input, VALID)),
  );
  return chance.of([
    () => chance.bytes(200),
    () => chance.mutated(valid),
    () => chance.mutated(valid),
    () => Buffer.alloc(0),
    () => Buffer.alloc(2_000_000, 8),
  ])();
}

/** One call by HTTP/2: any path, any headers, a body that is nearly gRPC's. */
function call(port: number, chance: Chance): Promise<void> {
  return new Promise((resolve) => {
    const session = connectHttp2(`http://127.0.0.1:${port}`, { maxSessionMemory: 50 });
    const end = () => {
      clearTimeout(cut);
      session.destroy();
      resolve();
    };
    const cut = setTimeout(end, LONG_MS);
    session.on("error", end);
    session.on("close", end);
    const body = message(chance);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt8(chance.one(5) ? chance.below(256) : 0, 0);
    prefix.writeUInt32BE(chance.one(4) ? chance.below(2 ** 32) : body.length, 1);
    const stream = session.request({
      ":method": chance.one(10) ? "GET" : "POST",
      ":path": chance.of(PATHS),
      "content-type": chance.of(["application/grpc", "application/grpc+proto", "application/json", "x"]),
      te: "trailers",
      ...(chance.one(3) && {
        "grpc-timeout": chance.of(["1n", "99999999H", "-1S", "S", "0m", chance.bytes(9).toString("hex")]),
      }),
      ...(chance.one(4) && { "grpc-encoding": chance.of(["gzip", "deflate", "identity", "x"]) }),
      ...(chance.one(5) && { [`x-${"h".repeat(1 + chance.below(200))}`]: "v".repeat(chance.below(20_000)) }),
      ...(chance.one(5) && { "authorization-bin": chance.bytes(30).toString("base64") }),
    });
    stream.on("error", () => {});
    stream.on("close", end);
    stream.resume();
    stream.write(chance.one(6) ? body : Buffer.concat([prefix, body]), () => {});
    if (chance.one(3)) stream.write(chance.bytes(100), () => {});
    if (chance.one(6)) stream.close(constants.NGHTTP2_CANCEL);
    else if (!chance.one(6)) stream.end();
  });
}

const deep = (depth: number, open: string, close: string) => open.repeat(depth) + close.repeat(depth);

function json(chance: Chance): string {
  const valid = JSON.stringify({
    record: {
      idempotencyKey: "fuzz",
      customerId: "fuzz",
      measurements: [{ meter: "input_tokens", quantity: "3" }],
    },
  });
  return chance.of([
    () => deep(1_000 + chance.below(100_000), "[", "]"),
    () => deep(1_000 + chance.below(50_000), '{"record":', "}"),
    () => `{"record":{"labels":${deep(20_000, '{"a":', "}")}}}`,
    () => chance.mutated(Buffer.from(valid)).toString(),
    () => chance.bytes(300).toString("latin1"),
    () => `{"record":{"measurements":[${'{"meter":"input_tokens","quantity":"1"},'.repeat(20_000)}{}]}}`,
    () => `{"record":{"idempotencyKey":"${"k".repeat(1_500_000)}"}}`,
    () => '{"__proto__":{"x":1},"constructor":{"prototype":{}},"record":null}',
    () => `{"record":{"eventTime":"9999999-99-99T99:99:99Z","measurements":[{"quantity":1e400}]}}`,
  ])();
}

/** One HTTP/1 request, its framing as wrong as its body. */
async function post(
  port: number,
  path: string,
  headers: readonly string[],
  body: string | Buffer,
  chance: Chance,
): Promise<void> {
  const bytes = Buffer.from(body);
  const length = chance.of([
    `content-length: ${bytes.length}`,
    `content-length: ${bytes.length}`,
    `content-length: ${chance.below(3_000_000)}`,
    "transfer-encoding: chunked",
    "content-length: -1",
    "content-length: 5\r\ntransfer-encoding: chunked",
  ]);
  const chunked =
    length.includes("chunked") && !chance.one(3)
      ? [`${bytes.length.toString(16)}\r\n`, bytes, "\r\n0\r\n\r\n"]
      : [bytes];
  const verb = chance.one(12) ? chance.of(["GET", "PUT", "CONNECT", "BREW", "PRI"]) : "POST";
  await send(
    port,
    [
      `${verb} ${path} HTTP/1.${chance.below(2)}\r\nhost: ${chance.of(["x", "x", "[", "x:y", "a b"])}\r\n`,
      ...headers.map((line) => `${line}\r\n`),
      `${length}\r\n\r\n`,
      ...chunked,
    ],
    chance,
  );
}

function connectHeaders(chance: Chance): string[] {
  return [
    `content-type: ${chance.of(["application/json", "application/proto", "application/connect+json", "application/grpc-web+proto", "application/grpc-web-text", "text/plain"])}`,
    ...(chance.one(4) ? [`connect-timeout-ms: ${chance.of(["0", "-1", "99999999999", "x"])}`] : []),
    ...(chance.one(4) ? [`content-encoding: ${chance.of(["gzip", "br", "zstd", "x"])}`] : []),
    ...(chance.one(5) ? [`x: ${"y".repeat(chance.below(200_000))}`] : []),
    ...(chance.one(5) ? Array.from({ length: chance.below(3_000) }, (_, i) => `h${i}: ${i}`) : []),
    ...(chance.one(8) ? [chance.bytes(60).toString("latin1")] : []),
  ];
}

/** A delivery that Stripe did not send; or bytes that, signed with the right secret, are no event. */
async function forge(port: number, chance: Chance): Promise<void> {
  const event = JSON.stringify({
    id: `evt_forged_${chance.below(1_000)}`,
    object: "event",
    type: "invoice.created",
    created: 1,
    data: { object: { id: "in_1" } },
  });
  const body = chance.of([
    () => event,
    () => json(chance),
    () => chance.mutated(Buffer.from(event)).toString(),
    () => "",
  ])();
  const nowS = Math.floor(Date.now() / 1_000);
  const sign = (secret: string, atS: number) => createHmac("sha256", secret).update(`${atS}.${body}`).digest("hex");
  const header = chance.of([
    () => "",
    () => `t=${nowS},v1=${sign("whsec_wrong", nowS)}`,
    () => `t=${nowS},v1=${"0".repeat(64)}`,
    // Of another day; of no time; of two times.
    () => `t=${nowS - 90_000},v1=${sign(WEBHOOK_SECRET, nowS - 90_000)}`,
    () => `t=,v1=${sign(WEBHOOK_SECRET, nowS)}`,
    () => `t=${nowS - 90_000},t=${nowS},v1=${sign(WEBHOOK_SECRET, nowS - 90_000)}`,
    () => `t=${nowS},v0=${sign(WEBHOOK_SECRET, nowS)}`,
    () => `t=${nowS}${",v1=00".repeat(2_000)}`,
    () =>
      chance
        .bytes(80)
        .toString("latin1")
        .replaceAll(/[\r\n]/g, ""),
    () => `t=${nowS},v1=${sign(WEBHOOK_SECRET, nowS).toUpperCase()}x`,
  ])();
  const headers = [
    `content-type: ${chance.one(6) ? "text/plain" : "application/json"}`,
    ...(header === "" ? [] : [`stripe-signature: ${header}`]),
  ];
  await post(
    port,
    chance.of([
      "/webhooks/stripe",
      "/webhooks/stripe",
      "/webhooks/stripe/thin",
      "/",
      "//webhooks/stripe",
      "/webhooks/stripe?x=1",
    ]),
    headers,
    body,
    chance,
  );
}

/** One attack, whichever chance has it. Never rejects. */
export async function attack({ grpcPort, httpPort, webhookPort }: Target, chance: Chance): Promise<void> {
  const port = chance.of([grpcPort, httpPort, webhookPort]);
  const connectPath = `/metering.v1.MeteringService/${chance.of(METHODS).name}`;
  await chance.of([
    () => send(port, [chance.bytes(2_000)], chance),
    () =>
      send(
        port,
        Array.from({ length: chance.below(30) }, () => chance.bytes(40)),
        chance,
      ),
    () => send(grpcPort, frames(chance), chance),
    () =>
      send(
        grpcPort,
        frames(chance).map((bytes) => (chance.one(4) ? chance.mutated(bytes) : bytes)),
        chance,
      ),
    () => call(grpcPort, chance),
    () => call(grpcPort, chance),
    () => post(httpPort, chance.one(8) ? chance.of(PATHS) : connectPath, connectHeaders(chance), json(chance), chance),
    () => post(httpPort, connectPath, ["content-type: application/json"], json(chance), chance),
    () => forge(webhookPort, chance),
    () => forge(webhookPort, chance),
  ])();
}

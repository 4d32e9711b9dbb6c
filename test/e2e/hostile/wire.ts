// Bytes on a connection, sent by nobody's library.
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Chance } from "./chance.ts";

/** Longest that an attack holds its connection, unless it is one that idles. */
const HOLD_MS = 400;

/** Opens a connection that never fails loudly: whoever attacks expects to be cut off. */
export function open(port: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket));
    socket.on("error", () => resolve(undefined));
    socket.resume();
  });
}

/** Sends chunks with pauses, waits a little for what comes, and leaves by FIN or RST. */
export async function send(port: number, chunks: readonly (Buffer | string)[], chance: Chance): Promise<void> {
  const socket = await open(port);
  if (socket === undefined) return;
  for (const chunk of chunks) {
    if (socket.destroyed) break;
    socket.write(chunk, () => {});
    if (chance.one(3)) await delay(chance.below(20));
  }
  await delay(chance.below(HOLD_MS));
  if (chance.one(2)) socket.resetAndDestroy();
  else socket.destroy();
}

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  more: 9,
};

/** An HTTP/2 frame; `length` as claimed, right unless given. */
function frame(type: number, flags: number, stream: number, body: Buffer, length = body.length): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length & 0xffffff, 0, 3);
  head.writeUInt8(type & 0xff, 3);
  head.writeUInt8(flags & 0xff, 4);
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, body]);
}

/** A literal header block of a gRPC call, without compression; values are cut at 126 bytes. */
function callHeaders(path: string, more: readonly (readonly [name: string, value: string])[] = []): Buffer {
  const literal = (name: string, value: string) =>
    Buffer.concat([
      Buffer.from([0, name.length]),
      Buffer.from(name),
      Buffer.from([Math.min(value.length, 126)]),
      Buffer.from(value.slice(0, 126)),
    ]);
  return Buffer.concat([
    literal(":method", "POST"),
    literal(":scheme", "http"),
    literal(":path", path),
    literal(":authority", "x"),
    literal("content-type", "application/grpc"),
    literal("te", "trailers"),
    ...more.map(([name, value]) => literal(name, value)),
  ]);
}

/**
 * A gRPC call of one message on a connection of its own, with headers that no library would send. Whether a message came back. `length` as
 * claimed: with a larger one than is sent, the call stays open.
 */
export async function answersCall(
  port: number,
  path: string,
  headers: readonly (readonly [name: string, value: string])[],
  message: Buffer,
  length = message.length,
): Promise<boolean> {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(length, 1);
  const socket = connect(port, "127.0.0.1");
  socket.write(PREFACE);
  socket.write(frame(FRAME.settings, 0, 0, Buffer.alloc(0)));
  socket.write(frame(FRAME.headers, END_HEADERS, 1, callHeaders(path, headers)));
  socket.write(frame(FRAME.data, length === message.length ? END_STREAM : 0, 1, Buffer.concat([prefix, message])));
  let heard = Buffer.alloc(0);
  try {
    for await (const part of socket) {
      heard = Buffer.concat([heard, part as Buffer]);
      while (heard.length >= 9 && heard.length >= 9 + heard.readUIntBE(0, 3)) {
        const [type, flags] = [heard.readUInt8(3), heard.readUInt8(4)];
        const isOurs = heard.readUInt32BE(5) === 1;
        heard = heard.subarray(9 + heard.readUIntBE(0, 3));
        if (isOurs && type === FRAME.data) return true;
        if (isOurs && (type === FRAME.reset || (flags & END_STREAM) !== 0)) return false;
      }
    }
    throw new Error("the server hung up without an answer");
  } finally {
    socket.destroy();
  }
}

const END_HEADERS = 4;
const END_STREAM = 1;

/** What a connection to the gRPC port may begin with, after its preface: frames at random, and floods of the known kinds. */
export function frames(chance: Chance): Buffer[] {
  const opening = [PREFACE, frame(FRAME.settings, 0, 0, Buffer.alloc(0))];
  const call = callHeaders("/metering.v1.MeteringService/RecordUsage");
  const many = (make: (i: number) => Buffer) => Array.from({ length: 20 + chance.below(400) }, (_, i) => make(i));
  const kinds: (() => Buffer[])[] = [
    () =>
      many(() =>
        frame(
          chance.below(12),
          chance.below(256),
          chance.below(9),
          chance.bytes(64),
          chance.one(4) ? chance.below(0xffffff) : undefined,
        ),
      ),
    // Rapid reset.
    () =>
      many((i) =>
        Buffer.concat([
          frame(FRAME.headers, END_HEADERS, 2 * i + 1, call),
          frame(FRAME.reset, 0, 2 * i + 1, Buffer.from([0, 0, 0, 8])),
        ]),
      ),
    () => many(() => frame(FRAME.ping, 0, 0, chance.bytes(8, 8))),
    () =>
      many(() =>
        frame(FRAME.settings, 0, 0, Buffer.concat([Buffer.from([0, 1 + chance.below(6)]), chance.bytes(4, 4)])),
      ),
    // Headers that do not end.
    () => [frame(FRAME.headers, 0, 1, call), ...many(() => frame(FRAME.more, 0, 1, chance.bytes(1_000)))],
    () => many((i) => frame(FRAME.headers, END_HEADERS, 2 * i + 1, chance.bytes(200))),
    () => many((i) => frame(FRAME.headers, END_HEADERS, 2 * i + 1, call)),
    () => [frame(FRAME.headers, END_HEADERS, 1, call), ...many(() => frame(FRAME.data, 0, 1, chance.bytes(2_000)))],
    () => many(() => frame(FRAME.window, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff]))),
    () => many(() => frame(FRAME.priority, 0, 1 + chance.below(99), chance.bytes(5, 5))),
    () => [
      frame(FRAME.push, END_HEADERS, 1, chance.bytes(50)),
      frame(FRAME.goaway, 0, 0, chance.bytes(8, 8)),
      frame(FRAME.data, 0, 1, chance.bytes(64)),
    ],
  ];
  return [...opening, ...chance.of(kinds)()];
}

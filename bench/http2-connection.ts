// A client of unary gRPC calls that costs as little as one can, so that the machine's cores are left to what is measured: HTTP/2 frames
// (RFC 9113), written and read as they are. Headers are not decoded: a gRPC server sends a message on success alone, so a call whose
// stream ends without one has failed.
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const END_STREAM = 0x1;
const ACK = 0x1;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const FRAME_HEAD_BYTES = 9;
const FRAME_MAX_BYTES = 16_384;
/** Initial windows of HTTP/2, for a stream and for a connection. */
const WINDOW_BYTES = 65_535;
const WINDOW_MAX_BYTES = 2 ** 31 - 1;
const GRPC_PREFIX_BYTES = 5;

/** A call; sent again, it is the same call. */
export interface Call {
  readonly message: Buffer;
  /** When it was first sent. */
  readonly startedMs: number;
  attempts: number;
}

/** A call under way, on one stream. */
interface Attempt {
  readonly call: Call;
  answer: Buffer | undefined;
}

/** Told of each attempt's end: its answer, undefined where it failed. */
export type OnAnswer = (answer: Buffer | undefined, call: Call, connection: GrpcConnection) => void;

export class GrpcConnection {
  readonly #socket: Socket;
  readonly #headers: Buffer;
  readonly #onAnswer: OnAnswer;
  readonly #attempts = new Map<number, Attempt>();
  #nextStream = 1;
  /** What the server lets us send on the whole connection. */
  #sendWindow = WINDOW_BYTES;
  #received = 0;
  #rest: Buffer = Buffer.alloc(0);
  #out: Buffer[] = [];
  /** Messages that wait for the window. */
  #held: { readonly stream: number; readonly message: Buffer }[] = [];
  #failure: Error | undefined;

  private constructor(socket: Socket, path: string, authority: string, onAnswer: OnAnswer) {
    this.#socket = socket;
    this.#headers = headerBlock(path, authority);
    this.#onAnswer = onAnswer;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (cause) => this.#fail(cause));
    socket.on("close", () => this.#fail(new Error("the server closed the connection")));
    const windowUpdate = Buffer.alloc(4);
    windowUpdate.writeUInt32BE(WINDOW_MAX_BYTES - WINDOW_BYTES);
    this.#out.push(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    this.#push(FRAME.settings, 0, 0, settings());
    this.#push(FRAME.windowUpdate, 0, 0, windowUpdate);
    this.flush();
  }

  /** To 127.0.0.1. `path` is "/package.Service/Method". */
  static async open(port: number, path: string, onAnswer: OnAnswer): Promise<GrpcConnection> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new GrpcConnection(socket, path, `127.0.0.1:${port}`, onAnswer);
  }

  /** Begins an attempt; goes out with the next flush. Throws what the connection failed with. */
  send(call: Call): void {
    if (this.#failure) throw this.#failure;
    const { message } = call;
    if (message.length + GRPC_PREFIX_BYTES > WINDOW_BYTES)
      throw new RangeError("the message exceeds a stream's window");
    const stream = this.#nextStream;
    this.#nextStream += 2;
    call.attempts += 1;
    this.#attempts.set(stream, { call, answer: undefined });
    if (this.#held.length > 0 || !this.#write(stream, message)) this.#held.push({ stream, message });
  }

  /** Writes what was begun. Done by itself after the answers that arrived together. */
  flush(): void {
    if (this.#out.length === 0) return;
    this.#socket.write(this.#out.length === 1 && this.#out[0] ? this.#out[0] : Buffer.concat(this.#out));
    this.#out = [];
  }

  close(): void {
    this.#failure ??= new Error("closed");
    this.#socket.destroy();
  }

  /** One buffer a call; false, with nothing written, while the window is too small. */
  #write(stream: number, message: Buffer): boolean {
    const bodyBytes = GRPC_PREFIX_BYTES + message.length;
    if (bodyBytes > this.#sendWindow) return false;
    this.#sendWindow -= bodyBytes;
    const body = Buffer.allocUnsafe(bodyBytes);
    body[0] = 0;
    body.writeUInt32BE(message.length, 1);
    message.copy(body, GRPC_PREFIX_BYTES);
    this.#push(FRAME.headers, END_HEADERS, stream, this.#headers);
    for (let at = 0; at < bodyBytes; at += FRAME_MAX_BYTES) {
      const part = body.subarray(at, at + FRAME_MAX_BYTES);
      this.#push(FRAME.data, at + FRAME_MAX_BYTES >= bodyBytes ? END_STREAM : 0, stream, part);
    }
    return true;
  }

  #push(type: number, flags: number, stream: number, payload: Buffer): void {
    const head = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    this.#out.push(head, payload);
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (bytes.length - at >= FRAME_HEAD_BYTES) {
      const end = at + FRAME_HEAD_BYTES + bytes.readUIntBE(at, 3);
      if (end > bytes.length) break;
      const stream = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
      this.#frame(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, stream, bytes.subarray(at + FRAME_HEAD_BYTES, end));
      at = end;
    }
    this.#rest = bytes.subarray(at);
    this.flush();
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    const attempt = this.#attempts.get(stream);
    switch (type) {
      case FRAME.data:
        if ((flags & PADDED) !== 0) throw new Error("padded frames are not expected of this server");
        this.#countReceived(payload.length);
        if (attempt) attempt.answer = attempt.answer ? Buffer.concat([attempt.answer, payload]) : payload;
        break;
      case FRAME.settings:
        if ((flags & ACK) === 0) this.#push(FRAME.settings, ACK, 0, Buffer.alloc(0));
        break;
      case FRAME.ping:
        if ((flags & ACK) === 0) this.#push(FRAME.ping, ACK, 0, payload);
        break;
      case FRAME.windowUpdate:
        if (stream === 0) this.#widen(payload.readUInt32BE(0));
        break;
      case FRAME.goAway:
        this.#fail(new Error("the server sent GOAWAY"));
        return;
    }
    if (attempt && (type === FRAME.reset || (flags & END_STREAM) !== 0)) {
      this.#attempts.delete(stream);
      this.#onAnswer(attempt.answer?.subarray(GRPC_PREFIX_BYTES), attempt.call, this);
    }
  }

  /** Gives the server its window back in large steps. */
  #countReceived(bytes: number): void {
    this.#received += bytes;
    if (this.#received < WINDOW_MAX_BYTES / 4) return;
    const update = Buffer.alloc(4);
    update.writeUInt32BE(this.#received);
    this.#push(FRAME.windowUpdate, 0, 0, update);
    this.#received = 0;
  }

  #widen(bytes: number): void {
    this.#sendWindow += bytes;
    let next = this.#held[0];
    while (next && this.#write(next.stream, next.message)) {
      this.#held.shift();
      next = this.#held[0];
    }
  }

  /** Fails every attempt under way; only the first failure counts. */
  #fail(cause: Error): void {
    if (this.#failure) return;
    this.#failure = cause;
    const attempts = [...this.#attempts.values()];
    this.#attempts.clear();
    for (const { call } of attempts) this.#onAnswer(undefined, call, this);
  }
}

/** No pushes; windows as large as they get, so that answers never wait for us. */
function settings(): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(0x2, 0);
  bytes.writeUInt16BE(0x4, 6);
  bytes.writeUInt32BE(WINDOW_MAX_BYTES, 8);
  return bytes;
}

/** HPACK (RFC 7541): indexed fields where the static table has them, else literals that no table keeps. The same for every call. */
function headerBlock(path: string, authority: string): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value);
    if (bytes.length > 126) throw new RangeError("a header is too long for a length of one byte");
    return Buffer.concat([Buffer.of(bytes.length), bytes]);
  };
  return Buffer.concat([
    Buffer.of(0x83, 0x86), // :method POST, :scheme http
    Buffer.of(0x04), // :path
    text(path),
    Buffer.of(0x01), // :authority
    text(authority),
    Buffer.of(0x0f, 0x10), // content-type
    text("application/grpc"),
    Buffer.of(0x00),
    text("te"),
    text("trailers"),
  ]);
}

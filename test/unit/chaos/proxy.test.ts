// The proxy does to connections what its conduct says, and nothing to those that pass.
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { Ports } from "../../../chaos/ports.ts";
import { FaultyProxy } from "../../../chaos/proxy.ts";

/** A busy machine takes its time. */
const SOON = { timeout: 30_000 };

/** A server that answers what it hears, and a proxy in front of it. */
async function echo(): Promise<{ proxy: FaultyProxy; heard: () => string; open: () => Promise<Talker> }> {
  let heard = "";
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", (piece) => {
      heard += String(piece);
      socket.write(piece);
    });
    socket.on("end", () => socket.end("bye"));
  });
  const ports = new Ports(process.pid);
  const port = await ports.take();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const proxy = await FaultyProxy.start(await ports.take(), port);
  onTestFinished(async () => {
    await proxy.close();
    server.close();
  });
  const open = async () => {
    const talker = new Talker(connect(proxy.port, "127.0.0.1"));
    onTestFinished(() => talker.end());
    await talker.connected;
    return talker;
  };
  return { proxy, heard: () => heard, open };
}

class Talker {
  readonly connected: Promise<unknown>;
  text = "";
  isClosed = false;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    // Or refused: then it is closed.
    this.connected = once(socket, "connect").catch(() => {});
    socket.on("data", (piece) => {
      this.text += String(piece);
    });
    socket.on("close", () => {
      this.isClosed = true;
    });
  }

  say(text: string): void {
    this.#socket.write(text);
  }

  hangUp(): void {
    this.#socket.end();
  }

  end(): void {
    this.#socket.destroy();
  }
}

test("what passes arrives whole and in order, and so does an answer to who has hung up", async () => {
  const { open } = await echo();
  const talker = await open();
  const said = Array.from({ length: 2_000 }, (_, i) => `${i},`);
  for (const piece of said) talker.say(piece);
  await expect.poll(() => talker.text.length, SOON).toBe(said.join("").length);
  expect(talker.text).toBe(said.join(""));
  talker.hangUp();
  await expect.poll(() => talker.text.endsWith("bye") && talker.isClosed, SOON).toBe(true);
});

test("stalled, nothing arrives, and all of it afterwards", async () => {
  const { proxy, heard, open } = await echo();
  const talker = await open();
  talker.say("before");
  await expect.poll(() => talker.text, SOON).toBe("before");
  proxy.behave("stalled");
  talker.say(" during");
  const late = await open();
  late.say("/late");
  // Long enough for it to arrive, if it could.
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect([heard(), talker.isClosed, late.isClosed]).toEqual(["before", false, false]);
  proxy.behave("pass");
  await expect.poll(() => [talker.text, late.text], SOON).toEqual(["before during", "/late"]);
});

test("deaf, the request arrives and its answer never does: the connection is reset in the end", async () => {
  const { proxy, heard, open } = await echo();
  const talker = await open();
  proxy.behave("deaf");
  talker.say("done");
  await expect.poll(heard, SOON).toBe("done");
  proxy.behave("pass");
  await expect.poll(() => talker.isClosed, SOON).toBe(true);
  expect(talker.text).toBe("");
});

test("cut, open connections break and new ones are let through; refused, neither", async () => {
  const { proxy, open } = await echo();
  const first = await open();
  first.say("x");
  await expect.poll(() => first.text, SOON).toBe("x");
  proxy.cut();
  await expect.poll(() => first.isClosed, SOON).toBe(true);
  const second = await open();
  second.say("y");
  await expect.poll(() => second.text, SOON).toBe("y");
  proxy.behave("refused");
  await expect.poll(() => second.isClosed, SOON).toBe(true);
  const third = await open();
  await expect.poll(() => third.isClosed, SOON).toBe(true);
  proxy.behave("pass");
  const fourth = await open();
  fourth.say("z");
  await expect.poll(() => fourth.text, SOON).toBe("z");
});

test("slow, every piece is late and in order", async () => {
  const { proxy, open } = await echo();
  const talker = await open();
  proxy.behave("slow", 100);
  const startMs = performance.now();
  talker.say("a");
  await expect.poll(() => talker.text, SOON).toBe("a");
  // There and back. At least: a busy machine only makes it more.
  expect(performance.now() - startMs).toBeGreaterThan(190);
});

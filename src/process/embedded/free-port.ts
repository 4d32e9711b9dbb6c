// Finds a loopback port for a child that must be told its port.
import { once } from "node:events";
import { createServer } from "node:net";

/** A TCP port of 127.0.0.1 that is free now. Somebody else may take it before it is used; then the child fails to start. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return address.port;
}

import { Client, credentials, Server, ServerCredentials, type ServiceError, status } from "@grpc/grpc-js";
import { expect, onTestFinished, test, vi } from "vitest";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { GrpcIntrospection, type IntrospectionOptions } from "../../../src/rpc/grpc-introspection.ts";

const SERVING = 1;
const NOT_SERVING = 2;

async function serve(options: IntrospectionOptions) {
  const server = new Server();
  const introspection = new GrpcIntrospection(server, [MeteringService], options);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => {
    client.close();
    server.forceShutdown();
  });
  return { introspection, watch: () => watchHealth(client) };
}

/** `heard`: each status of the server, as it comes; `first`: the first of them, or the code that the watch was refused with. */
function watchHealth(client: Client) {
  const heard: number[] = [];
  const pass = (bytes: Buffer) => bytes;
  const stream = client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", pass, pass, Buffer.alloc(0));
  stream.on("data", (answer: Buffer) => heard.push(answer[1] ?? 0));
  const first = new Promise<string>((resolve) => {
    stream.once("data", () => resolve(heard[0] === SERVING ? "SERVING" : "NOT_SERVING"));
    stream.on("error", ({ code }: ServiceError) => resolve(status[code] ?? ""));
  });
  return { heard, first, cancel: () => stream.cancel() };
}

test("a health watch hears of changes, and of nothing else", async () => {
  const { introspection, watch } = await serve({});
  const { heard } = watch();
  await vi.waitFor(() => expect(heard).toEqual([NOT_SERVING]), 10_000);
  // Said once a second, by whoever looks at the intake's store.
  for (const serving of [false, true, true, true, false]) introspection.setServing(serving);
  await vi.waitFor(() => expect(heard.slice(1)).toContain(NOT_SERVING), 10_000);
  expect(heard).toEqual([NOT_SERVING, SERVING, NOT_SERVING]);
});

test("one watch too many is refused, and has a place once another has ended", async () => {
  const { watch } = await serve({ maxStreams: 2 });
  const one = watch();
  expect([await one.first, await watch().first]).toEqual(["NOT_SERVING", "NOT_SERVING"]);
  expect(await watch().first).toBe("RESOURCE_EXHAUSTED");
  one.cancel();
  await vi.waitFor(async () => expect(await watch().first).toBe("NOT_SERVING"), 10_000);
});

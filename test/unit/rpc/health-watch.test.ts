import { Client, credentials, Server, ServerCredentials } from "@grpc/grpc-js";
import { expect, onTestFinished, test, vi } from "vitest";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { GrpcIntrospection } from "../../../src/rpc/grpc-introspection.ts";

const SERVING = 1;
const NOT_SERVING = 2;

test("a health watch hears of changes, and of nothing else", async () => {
  const server = new Server();
  const introspection = new GrpcIntrospection(server, [MeteringService], false);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  onTestFinished(() => server.forceShutdown());
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => client.close());

  const heard: number[] = [];
  const pass = (bytes: Buffer) => bytes;
  const watch = client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", pass, pass, Buffer.alloc(0));
  watch.on("data", (answer: Buffer) => heard.push(answer[1] ?? 0));
  watch.on("error", () => {});
  onTestFinished(() => watch.cancel());
  await vi.waitFor(() => expect(heard).toEqual([NOT_SERVING]), 10_000);
  // Said once a second, by whoever looks at the intake's store.
  for (const serving of [false, true, true, true, false]) introspection.setServing(serving);
  await vi.waitFor(() => expect(heard.slice(1)).toContain(NOT_SERVING), 10_000);
  expect(heard).toEqual([NOT_SERVING, SERVING, NOT_SERVING]);
});

// Deadlines, health, reflection and shutdown of the gRPC server.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { create, createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { type Client, credentials, loadPackageDefinition, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { protoPath as healthProto } from "grpc-health-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { AdminService } from "../../../gen/metering/admin/v1/admin_service_pb.ts";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { UsageRecordSchema } from "../../../gen/metering/v1/usage_pb.ts";
import type { Intake } from "../../../src/app/ports/intake.ts";
import type { CallContext } from "../../../src/app/usage-request.ts";
import { callConnectJson, callGrpc, grpcClient, reasonOf, refusalOf } from "./test-client.ts";
import { EMPTY_ANSWER, MemoryIntake, startTestService } from "./test-service.ts";

const { recordUsage, getUsage } = MeteringService.method;
const RECORD = {
  record: { idempotencyKey: "k", customerId: "c", measurements: [{ meter: "input_tokens", quantity: 1n }] },
};
const NAME = MeteringService.typeName;
const ADMIN = AdminService.typeName;

/** A promise, and what resolves it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** The intake, which says so when it is called. */
function signalling(intake: Intake, called: () => void): Intake {
  return {
    record(records) {
      called();
      return intake.record(records);
    },
  };
}

describe("deadlines", () => {
  test("a call without one gets the server's, by gRPC and by Connect", async () => {
    const intake = new MemoryIntake();
    const { opened, open } = gate();
    intake.gate = opened;
    const service = await startTestService({ intake, limits: { defaultDeadlineMs: 50 } });
    const overGrpc = refusalOf(await callGrpc(grpcClient(service.grpcAddress), recordUsage, RECORD));
    const overConnect = refusalOf(await callConnectJson(service.connectUrl, recordUsage, RECORD));
    open();
    expect([overGrpc.code, reasonOf(overGrpc)]).toEqual(["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"]);
    expect(overConnect).toEqual(overGrpc);
    expect(service.ended).toEqual(["RecordUsage DEADLINE_EXCEEDED", "RecordUsage DEADLINE_EXCEEDED"]);
  });

  test("a longer one is cut to the server's longest", async () => {
    const intake = new MemoryIntake();
    const { opened, open } = gate();
    intake.gate = opened;
    const service = await startTestService({ intake, limits: { maxDeadlineMs: 50 } });
    const deadline = Date.now() + 3_600_000;
    const refusal = refusalOf(await callGrpc(grpcClient(service.grpcAddress), recordUsage, RECORD, { deadline }));
    open();
    expect(reasonOf(refusal)).toBe("DEADLINE_EXCEEDED");
  });

  test("the use case hears of it", async () => {
    const heard = gate();
    const readUsage = {
      getUsage: async (_: unknown, context: CallContext) => {
        context.signal.addEventListener("abort", heard.open);
        await heard.opened;
        return EMPTY_ANSWER;
      },
    };
    const service = await startTestService({ readUsage, limits: { defaultDeadlineMs: 50 } });
    const refusal = refusalOf(await callGrpc(grpcClient(service.grpcAddress), getUsage, { customerId: "c" }));
    await heard.opened;
    expect(refusal.code).toBe("DEADLINE_EXCEEDED");
  });

  test("a hang-up reaches the use case too, and is no line in the log", async () => {
    const started = gate();
    const heard = gate();
    const readUsage = {
      getUsage: async (_: unknown, context: CallContext) => {
        context.signal.addEventListener("abort", heard.open);
        started.open();
        await heard.opened;
        return EMPTY_ANSWER;
      },
    };
    const service = await startTestService({ readUsage });
    const client = grpcClient(service.grpcAddress);
    const hangUp = new AbortController();
    const call = callGrpc(client, getUsage, { customerId: "c" }, {}, hangUp.signal);
    await started.opened;
    hangUp.abort();
    await Promise.all([heard.opened, call]);
    while (service.ended.length === 0) await new Promise(setImmediate);
    expect(service.logged).toEqual([]);
  });
});

describe("health", () => {
  test("turns with setServing, for the server and the service", async () => {
    const { grpc, grpcAddress } = await startTestService();
    const check = healthChecker(grpcAddress);
    expect([await check(""), await check(NAME)]).toEqual(["NOT_SERVING", "NOT_SERVING"]);
    grpc.setServing(true);
    expect([await check(""), await check(NAME)]).toEqual(["SERVING", "SERVING"]);
    grpc.setServing(false);
    expect([await check(""), await check(NAME)]).toEqual(["NOT_SERVING", "NOT_SERVING"]);
    await expect(check("other")).rejects.toThrow("NOT_FOUND");
  });

  test("a watcher hears NOT_SERVING and does not hold a stop up", async () => {
    const { grpc, grpcAddress } = await startTestService();
    grpc.setServing(true);
    const watch = healthClient(grpcAddress).watch({ service: "" });
    const heard: string[] = [];
    const first = gate();
    watch.on("data", ({ status }: { status: string }) => {
      heard.push(status);
      first.open();
    });
    const ended = new Promise<{ code: number }>((resolve) => watch.on("error", resolve));
    await first.opened;
    await grpc.stop(60_000);
    expect((await ended).code).toBe(14);
    expect(heard).toEqual(["SERVING", "NOT_SERVING"]);
  });
});

test.each(["v1", "v1alpha"])("reflection %s lists and describes everything", async (version) => {
  const { grpcAddress } = await startTestService();
  const ask = reflection(grpcAddress, version);
  const { listServicesResponse } = await ask({ listServices: "*" });
  expect(listServicesResponse.service.map((s: { name: string }) => s.name).sort()).toEqual([
    "grpc.health.v1.Health",
    NAME,
  ]);
  const { fileDescriptorResponse } = await ask({ fileContainingSymbol: `${NAME}.RecordUsage` });
  const files = fileDescriptorResponse.fileDescriptorProto.map((bytes: Uint8Array) =>
    fromBinary(FileDescriptorProtoSchema, Uint8Array.from(bytes)),
  );
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: files.reverse() }));
  expect(registry.getService(NAME)?.methods.map((m) => m.name)).toEqual(MeteringService.methods.map((m) => m.name));
  const record = registry.getMessage("metering.v1.UsageRecord");
  expect(record?.fields.map((f) => [f.name, f.jsonName, String(f)])).toEqual(
    UsageRecordSchema.fields.map((f) => [f.name, f.jsonName, String(f)]),
  );
  for (const symbol of ["google.rpc.ErrorInfo", "grpc.health.v1.HealthCheckRequest", "google.protobuf.Timestamp"])
    expect(await ask({ fileContainingSymbol: symbol })).toHaveProperty("fileDescriptorResponse");
  expect(await ask({ fileContainingSymbol: ADMIN })).toHaveProperty("errorResponse");
});

test("the admin API, where it is on, is in reflection and in health", async () => {
  const voids = { voidRecord: async () => ({ kind: "not_found" }) as const };
  const { grpc, grpcAddress } = await startTestService({ voids });
  const ask = reflection(grpcAddress, "v1");
  const { listServicesResponse } = await ask({ listServices: "*" });
  expect(listServicesResponse.service.map((s: { name: string }) => s.name).sort()).toEqual([
    "grpc.health.v1.Health",
    ADMIN,
    NAME,
  ]);
  expect(await ask({ fileContainingSymbol: `${ADMIN}.VoidRecord` })).toHaveProperty("fileDescriptorResponse");
  expect(await ask({ fileContainingSymbol: `${NAME}.RecordUsage` })).toHaveProperty("fileDescriptorResponse");
  grpc.setServing(true);
  expect(await healthChecker(grpcAddress)(ADMIN)).toBe("SERVING");
});

describe("stop", () => {
  test("lets a unary call under way finish, and takes no new connection", async () => {
    const intake = new MemoryIntake();
    const { opened, open } = gate();
    const arrived = gate();
    const service = await startTestService({ intake: signalling(intake, arrived.open) });
    intake.gate = opened;
    const call = callGrpc(grpcClient(service.grpcAddress), recordUsage, RECORD);
    await arrived.opened;
    const stopped = service.grpc.stop(60_000);
    const late = await callGrpc(grpcClient(service.grpcAddress), recordUsage, RECORD);
    open();
    expect(await call).toHaveProperty("ok");
    expect(refusalOf(late).code).toBe("UNAVAILABLE");
    await stopped;
  });

  test("cuts what is left when the grace is over", async () => {
    const intake = new MemoryIntake();
    const arrived = gate();
    intake.gate = new Promise(() => {});
    const service = await startTestService({ intake: signalling(intake, arrived.open) });
    const call = callGrpc(grpcClient(service.grpcAddress), recordUsage, RECORD);
    await arrived.opened;
    await service.grpc.stop(50);
    expect(["CANCELLED", "UNAVAILABLE"]).toContain(refusalOf(await call).code);
  });

  test("gives all callers one promise", async () => {
    const { grpc, connect } = await startTestService();
    expect(grpc.stop(10)).toBe(grpc.stop(20));
    expect(connect.stop(10)).toBe(connect.stop(20));
    await Promise.all([grpc.stop(10), connect.stop(10)]);
  });

  test("the Connect server finishes what is under way", async () => {
    const intake = new MemoryIntake();
    const arrived = gate();
    const { opened, open } = gate();
    intake.gate = opened;
    const service = await startTestService({ intake: signalling(intake, arrived.open) });
    const call = callConnectJson(service.connectUrl, recordUsage, RECORD);
    await arrived.opened;
    const stopped = service.connect.stop(60_000);
    open();
    expect(await call).toHaveProperty("ok");
    await stopped;
    await expect(fetch(service.connectUrl)).rejects.toThrow();
  });
});

// The untyped clients of two services that this project does not generate code for.
// biome-ignore lint/suspicious/noExplicitAny: their messages have no types
type Untyped = any;

function healthClient(address: string): Untyped {
  return loadClient(healthProto, "grpc.health.v1", "Health", address);
}

function healthChecker(address: string): (service: string) => Promise<string> {
  const client = healthClient(address);
  return (service) =>
    new Promise((resolve, reject) =>
      client.check({ service }, (error: Error | null, answer: { status: string }) =>
        error === null ? resolve(answer.status) : reject(error),
      ),
    );
}

function reflection(address: string, version: string): (request: object) => Promise<Untyped> {
  const root = join(dirname(createRequire(import.meta.url).resolve("@grpc/reflection")), "..", "proto");
  const file = join(root, "grpc", "reflection", version, "reflection.proto");
  const client = loadClient(file, `grpc.reflection.${version}`, "ServerReflection", address);
  return (request) =>
    new Promise((resolve, reject) => {
      const stream = client.ServerReflectionInfo();
      stream.on("data", (answer: Untyped) => {
        stream.end();
        resolve(answer);
      });
      stream.on("error", reject);
      stream.write(request);
    });
}

function loadClient(file: string, pkg: string, service: string, address: string): Untyped {
  const definition = loadSync(file, { enums: String, longs: String, oneofs: false });
  const loaded: Untyped = pkg.split(".").reduce((at: Untyped, name) => at[name], loadPackageDefinition(definition));
  const ClientOf = loaded[service] as ServiceClientConstructor;
  const client: Client = new ClientOf(address, credentials.createInsecure());
  onTestFinished(() => client.close());
  return client;
}

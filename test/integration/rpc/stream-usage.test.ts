// StreamUsage at the edge: pace, hang-up, drain.
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import type { StreamUsageResponse } from "../../../gen/metering/v1/metering_service_pb.ts";
import type { CallContext, UsageTotal, WatchEvent, WatchRequest } from "../../../src/app/usage-request.ts";
import {
  fromServiceError,
  grpcClient,
  grpcWebClient,
  openStream,
  outcomeOf,
  type Refusal,
  reasonOf,
  refusalOf,
  retryDelayOf,
} from "./test-client.ts";
import { startTestService } from "./test-service.ts";

const HEARTBEAT: WatchEvent = { kind: "heartbeat", resumeToken: Uint8Array.of(1), watermarkMs: 1500 };
const TOTAL: UsageTotal = {
  customerId: "",
  window: { startMs: 0, endMs: 900_000 },
  meter: "input_tokens",
  apiKeyId: "key",
  model: "m",
  labels: [["team", "a"]],
  quantity: 2n ** 62n,
  recordCount: 3n,
};
const SNAPSHOT: WatchEvent = { ...HEARTBEAT, kind: "snapshot", interval: TOTAL.window, totals: [TOTAL] };
const UPDATE: WatchEvent = { ...HEARTBEAT, kind: "update", totals: [TOTAL] };

/** Waits for the end of the signal, as the real use case does between events. */
async function untilAborted({ signal }: CallContext): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
}

function failureOf(stream: ClientReadableStream<unknown>): Promise<Refusal> {
  return new Promise((resolve) => stream.on("error", (error: ServiceError) => resolve(fromServiceError(error))));
}

function nextOf<T>(stream: ClientReadableStream<T>): Promise<T> {
  return new Promise((resolve) => stream.once("data", resolve));
}

test("events come through as they are, and the defaults are filled in", async () => {
  const asked: WatchRequest[] = [];
  const readUsage = {
    async *watchUsage(request: WatchRequest) {
      asked.push(request);
      yield SNAPSHOT;
      yield UPDATE;
      yield HEARTBEAT;
    },
  };
  const service = await startTestService({ readUsage });
  const stream = openStream(grpcClient(service.grpcAddress));
  const events: StreamUsageResponse[] = [];
  for await (const event of stream) events.push(event as StreamUsageResponse);
  expect(asked).toMatchObject([{ over: "default", minUpdateIntervalMs: 100, heartbeatIntervalMs: 15_000, meters: [] }]);
  expect(events.map((e) => e.event.case)).toEqual(["snapshot", "update", "heartbeat"]);
  expect(events[0]).toMatchObject({
    event: {
      value: { interval: { endTime: { seconds: 900n } }, totals: [{ quantity: 2n ** 62n, labels: { team: "a" } }] },
    },
    resumeToken: Buffer.from([1]),
    watermarkTime: { seconds: 1n, nanos: 500_000_000 },
  });
  expect(service.ended).toEqual(["StreamUsage OK"]);
});

describe("drain", () => {
  test("ends a stream with UNAVAILABLE and a time to come back, over gRPC", async () => {
    const readUsage = {
      async *watchUsage(_: WatchRequest, context: CallContext) {
        yield HEARTBEAT;
        await untilAborted(context);
      },
    };
    const service = await startTestService({ readUsage });
    const stream = openStream(grpcClient(service.grpcAddress));
    const failure = failureOf(stream);
    await nextOf(stream);
    await service.grpc.stop(60_000);
    const refusal = await failure;
    expect([refusal.code, reasonOf(refusal), retryDelayOf(refusal)]).toEqual(["UNAVAILABLE", "DRAINING", "1s"]);
    expect(service.ended).toEqual(["StreamUsage UNAVAILABLE"]);
  });

  test("and over gRPC-Web", async () => {
    const readUsage = {
      async *watchUsage(_: WatchRequest, context: CallContext) {
        yield HEARTBEAT;
        await untilAborted(context);
      },
    };
    const service = await startTestService({ readUsage });
    const events = grpcWebClient(service.connectUrl).streamUsage({ customerId: "c" })[Symbol.asyncIterator]();
    await events.next();
    const next = outcomeOf(events.next());
    await service.connect.stop(60_000);
    const refusal = refusalOf(await next);
    expect([refusal.code, reasonOf(refusal), retryDelayOf(refusal)]).toEqual(["UNAVAILABLE", "DRAINING", "1s"]);
  });
});

test("a caller that leaves ends the use case's iterator, and is no line in the log", async () => {
  let ended = () => {};
  const over = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const readUsage = {
    async *watchUsage(_: WatchRequest, context: CallContext) {
      try {
        yield HEARTBEAT;
        await untilAborted(context);
      } finally {
        ended();
      }
    },
  };
  const service = await startTestService({ readUsage });
  const stream = openStream(grpcClient(service.grpcAddress));
  stream.on("error", () => {});
  await nextOf(stream);
  stream.cancel();
  await over;
  // The edge's own end follows the iterator's in the same turn.
  await new Promise(setImmediate);
  expect(service.ended).toEqual(["StreamUsage CANCELLED"]);
  expect(service.logged).toEqual([]);
});

test("a slow reader holds the use case back instead of filling a queue", async () => {
  let produced = 0;
  const totals = Array.from({ length: 200 }, () => SNAPSHOT.kind === "snapshot" && SNAPSHOT.totals[0]).filter(
    (t) => t !== false && t !== undefined,
  );
  const readUsage = {
    async *watchUsage(_: WatchRequest, { signal }: CallContext) {
      while (!signal.aborted) {
        produced += 1;
        yield { ...HEARTBEAT, kind: "update" as const, totals };
      }
    },
  };
  const service = await startTestService({ readUsage });
  const stream = openStream(grpcClient(service.grpcAddress));
  stream.on("error", () => {});
  await nextOf(stream);
  stream.pause();
  const stalledAt = await settledValue(() => produced);
  // Flow-control windows hold some hundred KiB; an unbounded server would have gone on for ever.
  expect(stalledAt).toBeLessThan(1000);
  stream.resume();
  while (produced < stalledAt + 100) await nextOf(stream);
  stream.cancel();
});

test("a reader that takes nothing loses its place to the next one, and finds out why when it reads again", async () => {
  let ended = 0;
  const totals = Array.from({ length: 200 }, () => TOTAL);
  const readUsage = {
    async *watchUsage(_: WatchRequest, { signal }: CallContext) {
      try {
        while (!signal.aborted) yield { ...UPDATE, totals };
      } finally {
        ended += 1;
      }
    },
  };
  const service = await startTestService({ readUsage, limits: { maxStreams: 1, readerTimeoutMs: 300 } });
  const client = grpcClient(service.grpcAddress);
  const stream = openStream(client);
  const failure = failureOf(stream);
  await nextOf(stream);
  stream.pause();
  while (ended === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const second = openStream(client);
  second.on("error", () => {});
  expect(await nextOf(second)).toMatchObject({ event: { case: "update" } });
  second.cancel();
  stream.resume();
  const refusal = await failure;
  expect([refusal.code, reasonOf(refusal), retryDelayOf(refusal)]).toEqual([
    "RESOURCE_EXHAUSTED",
    "READER_TOO_SLOW",
    "1s",
  ]);
});

test("and so over gRPC-Web", async () => {
  let ended = 0;
  const totals = Array.from({ length: 200 }, () => TOTAL);
  const readUsage = {
    async *watchUsage(_: WatchRequest, { signal }: CallContext) {
      try {
        while (!signal.aborted) yield { ...UPDATE, totals };
      } finally {
        ended += 1;
      }
    },
  };
  const service = await startTestService({ readUsage, limits: { maxStreams: 1, readerTimeoutMs: 300 } });
  const events = grpcWebClient(service.connectUrl).streamUsage({ customerId: "c" })[Symbol.asyncIterator]();
  await events.next();
  while (ended === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const second = openStream(grpcClient(service.grpcAddress));
  second.on("error", () => {});
  expect(await nextOf(second)).toMatchObject({ event: { case: "update" } });
  second.cancel();
  const readOn = async () => {
    for (let next = await events.next(); next.done !== true; next = await events.next());
  };
  expect(reasonOf(refusalOf(await outcomeOf(readOn())))).toBe("READER_TOO_SLOW");
});

test("past the most streams a server may hold, the next is refused until one ends", async () => {
  const readUsage = {
    async *watchUsage(_: WatchRequest, context: CallContext) {
      yield HEARTBEAT;
      await untilAborted(context);
    },
  };
  const service = await startTestService({ readUsage, limits: { maxStreams: 1 } });
  const client = grpcClient(service.grpcAddress);
  const first = openStream(client);
  first.on("error", () => {});
  await nextOf(first);
  const second = openStream(client);
  second.resume();
  const refusal = await failureOf(second);
  expect([refusal.code, reasonOf(refusal), retryDelayOf(refusal)]).toEqual([
    "RESOURCE_EXHAUSTED",
    "TOO_MANY_STREAMS",
    "5s",
  ]);
  first.cancel();
  while (service.ended.length < 2) await new Promise(setImmediate);
  const third = openStream(client);
  third.on("error", () => {});
  expect(await nextOf(third)).toMatchObject({ event: { case: "heartbeat" } });
});

/** The value once it has stood still for a while. */
async function settledValue(read: () => number): Promise<number> {
  let last = -1;
  while (last !== read()) {
    last = read();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return last;
}

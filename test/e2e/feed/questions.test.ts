// What streams ask for, over two replicas: one key, every split, silence, and going on at the other replica.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test as plain } from "vitest";
import {
  MeteringService,
  type StreamUsageRequestSchema,
  type StreamUsageResponse,
} from "../../../gen/metering/v1/metering_service_pb.ts";
import { NamedPeriod, UsageDimension, type UsageTotal } from "../../../gen/metering/v1/usage_pb.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { startService } from "../../support/service.ts";

type Asked = Omit<
  MessageInitShape<typeof StreamUsageRequestSchema>,
  "$typeName" | "minUpdateInterval" | "heartbeatInterval"
>;

const PERIOD = NamedPeriod.CURRENT_MONTH;
const EVERY_SPLIT = [UsageDimension.API_KEY, UsageDimension.MODEL];

/** A stream, read event by event. */
class Followed {
  readonly #abort = new AbortController();
  readonly #events: AsyncIterator<StreamUsageResponse>;
  readonly totals = new Map<string, bigint>();

  constructor(client: ReturnType<typeof clientOf>, asked: Asked) {
    const pace = { minUpdateInterval: { nanos: 50_000_000 }, heartbeatInterval: { seconds: 1n } };
    this.#events = client
      .streamUsage({ period: PERIOD, ...pace, ...asked }, { signal: this.#abort.signal })
      [Symbol.asyncIterator]();
  }

  /** The next event, its totals kept. */
  async next(): Promise<StreamUsageResponse> {
    const { value, done } = await this.#events.next();
    if (done) throw new Error("the stream ended");
    const { event } = value;
    if (event.case === "snapshot") this.totals.clear();
    if (event.case === "snapshot" || event.case === "update")
      for (const total of event.value.totals) this.totals.set(keyOf(total), total.quantity);
    return value;
  }

  async until(isSo: (event: StreamUsageResponse) => boolean): Promise<StreamUsageResponse> {
    for (;;) {
      const event = await this.next();
      if (isSo(event)) return event;
    }
  }

  end(): void {
    this.#abort.abort();
    // It may be waited for, and then rejects with the abort.
    this.#events.next().catch(() => {});
  }
}

const clientOf = (baseUrl: string) =>
  createClient(MeteringService, createConnectTransport({ baseUrl, httpVersion: "1.1" }));
const keyOf = ({ meter, apiKeyId, model }: UsageTotal) => `${apiKeyId}/${model}/${meter}`;
const sorted = (totals: ReadonlyMap<string, bigint>) => Object.fromEntries([...totals].sort());

interface World {
  readonly replicas: readonly ReturnType<typeof clientOf>[];
  follow(replica: number, asked: Asked): Followed;
  /** By the replica; resolves when it is acknowledged. */
  use(replica: number, of: { customerId: string; apiKeyId?: string; model?: string }, used: object): Promise<void>;
}

const test = plain.extend<{ world: World }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the names from here.
  world: async ({}, use) => {
    const { service, close } = await startService({ intake: "redis", processes: ["api,drain", "api,drain"] });
    const replicas = service.processes.map(({ httpUrl }) => clientOf(httpUrl));
    const streams: Followed[] = [];
    let keys = 0;
    await use({
      replicas,
      follow(replica, asked) {
        const stream = new Followed(replicas[replica] ?? expect.unreachable(), asked);
        streams.push(stream);
        return stream;
      },
      async use(replica, of, used) {
        keys += 1;
        const measurements = Object.entries(used).map(([meter, quantity]) => ({ meter, quantity: BigInt(quantity) }));
        const record = { ...of, idempotencyKey: `key-${keys}`, measurements };
        await (replicas[replica] ?? expect.unreachable()).recordUsage({ record });
      },
    });
    for (const stream of streams) stream.end();
    await close();
  },
});

describeWithRedis("with Redis intake", () => {
  test("one key, split by model, key and token type: what the other replica takes, and as GetUsage answers", {
    timeout: 120_000,
  }, async ({ world }) => {
    const customerId = "cus_split";
    const one = world.follow(0, { customerId, apiKeyId: "k1", groupBy: [UsageDimension.MODEL] });
    const all = world.follow(0, { customerId, groupBy: EVERY_SPLIT });
    const ofInput = world.follow(0, { customerId, meters: ["input_tokens"] });
    for (const stream of [one, all, ofInput]) expect((await stream.next()).event.case).toBe("snapshot");
    const uses = [
      ["k1", "m1", { input_tokens: 1 }],
      ["k1", "m2", { input_tokens: 10, output_tokens: 5 }],
      ["k2", "m1", { output_tokens: 100 }],
      ["k1", "m1", { input_tokens: 1_000 }],
    ] as const;
    for (const [apiKeyId, model, used] of uses) await world.use(1, { customerId, apiKeyId, model }, used);
    await all.until(() => all.totals.get("k1/m1/requests") === 2n && all.totals.get("k2/m1/requests") === 1n);
    await one.until(() => one.totals.get("/m1/input_tokens") === 1_001n);
    await ofInput.until(() => ofInput.totals.get("//input_tokens") === 1_011n);
    expect(sorted(all.totals)).toEqual({
      "k1/m1/input_tokens": 1_001n,
      "k1/m1/requests": 2n,
      "k1/m2/input_tokens": 10n,
      "k1/m2/output_tokens": 5n,
      "k1/m2/requests": 1n,
      "k2/m1/output_tokens": 100n,
      "k2/m1/requests": 1n,
    });
    expect(sorted(one.totals)).toEqual({
      "/m1/input_tokens": 1_001n,
      "/m1/requests": 2n,
      "/m2/input_tokens": 10n,
      "/m2/output_tokens": 5n,
      "/m2/requests": 1n,
    });
    expect(sorted(ofInput.totals)).toEqual({ "//input_tokens": 1_011n });
    const over = { case: "period", value: PERIOD } as const;
    const answer = await world.replicas[1]?.getUsage({ customerId, over, groupBy: EVERY_SPLIT });
    expect(sorted(all.totals)).toEqual(sorted(new Map(answer?.totals.map((t) => [keyOf(t), t.quantity]))));
  });

  test("a record of another key moves no stream of this one, which stays alive by heartbeats", {
    timeout: 120_000,
  }, async ({ world }) => {
    const customerId = "cus_quiet";
    await world.use(0, { customerId, apiKeyId: "k1" }, { input_tokens: 1 });
    const stream = world.follow(0, { customerId, apiKeyId: "k1" });
    await stream.until(() => stream.totals.get("//input_tokens") === 1n);
    const beside = world.follow(0, { customerId });
    await world.use(1, { customerId, apiKeyId: "k2" }, { input_tokens: 1 });
    await beside.until(() => beside.totals.get("//input_tokens") === 2n);
    const events = [await stream.next(), await stream.next()];
    expect(events.map(({ event }) => event.case)).toEqual(["heartbeat", "heartbeat"]);
    for (const { resumeToken, watermarkTime } of events) {
      expect(resumeToken.length).toBeGreaterThan(0);
      expect(watermarkTime).toBeDefined();
    }
  });

  test("goes on at the other replica: without a snapshot where nothing happened, with one where something did", {
    timeout: 120_000,
  }, async ({ world }) => {
    const customerId = "cus_moves";
    await world.use(0, { customerId }, { input_tokens: 1 });
    const first = world.follow(0, { customerId });
    await first.until(() => first.totals.get("//input_tokens") === 1n);
    const { resumeToken } = await first.until(({ event }) => event.case === "heartbeat");
    first.end();
    const second = world.follow(1, { customerId, resumeToken });
    expect((await second.next()).event.case).toBe("heartbeat");
    await world.use(0, { customerId }, { input_tokens: 2 });
    const update = await second.next();
    expect(update.event.case).toBe("update");
    expect(sorted(second.totals)).toEqual({ "//input_tokens": 3n, "//requests": 2n });
    const third = world.follow(0, { customerId, resumeToken });
    expect((await third.next()).event.case).toBe("snapshot");
    expect(sorted(third.totals)).toEqual({ "//input_tokens": 3n, "//requests": 2n });
    const fourth = world.follow(0, { customerId, resumeToken: update.resumeToken });
    expect((await fourth.next()).event.case).toBe("heartbeat");
  });
});

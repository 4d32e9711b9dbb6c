// P6 under load: what a stream tells at a watermark is what GetUsage tells at it. Records and voids go to either of two replicas, streams
// and reads to the other; every total, live or read, must count all that was acknowledged before its watermark and nothing that was not sent.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { describe, expect, test, vi } from "vitest";
import { AdminService } from "../../../gen/metering/admin/v1/admin_service_pb.ts";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { NamedPeriod } from "../../../gen/metering/v1/usage_pb.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { pickSeed, randomFrom } from "../../support/seed.ts";
import { startService } from "../../support/service.ts";

const CUSTOMERS = ["a", "b", "c", "d", "e", "f"];
const WRITERS = 4;
const BATCHES_PER_WRITER = 40;
const PERIOD = NamedPeriod.CURRENT_MONTH;

interface Fact {
  readonly quantity: bigint;
  readonly sentMs: number;
  ackedMs: number;
  voidSentMs: number;
}

/** All that was done to one customer. */
class Book {
  readonly facts: Fact[] = [];

  /** Bounds of a total that was read between `fromMs` and now and says that it counts all before `watermarkMs`. */
  bounds(watermarkMs: number): { least: bigint; most: bigint } {
    let [least, most] = [0n, 0n];
    for (const { quantity, ackedMs, voidSentMs } of this.facts) {
      most += quantity;
      if (ackedMs < watermarkMs && voidSentMs === Number.POSITIVE_INFINITY) least += quantity;
    }
    return { least, most };
  }

  get left(): bigint {
    return this.facts.reduce((sum, f) => (f.voidSentMs === Number.POSITIVE_INFINITY ? sum + f.quantity : sum), 0n);
  }

  get hasVoids(): boolean {
    return this.facts.some((f) => f.voidSentMs !== Number.POSITIVE_INFINITY);
  }
}

const toMs = (time: { seconds: bigint; nanos: number } | undefined) =>
  time === undefined ? Number.NaN : Number(time.seconds) * 1000 + time.nanos / 1e6;

/** The checks are synchronous with what was written down, since both happen in this one thread. */
async function underLoad(
  intake: "redis" | "postgres",
  processes: readonly string[],
  onTestFinished: (end: () => Promise<void>) => void,
) {
  const { service, close } = await startService({ intake, processes, environment: { METERING_ADMIN_API: "true" } });
  onTestFinished(close);
  const replicas = service.processes
    .filter((one) => one.roles.includes("api"))
    .map(({ httpUrl }) => {
      const transport = createConnectTransport({ baseUrl: httpUrl, httpVersion: "1.1" });
      return { metering: createClient(MeteringService, transport), admin: createClient(AdminService, transport) };
    });
  const seed = pickSeed();
  const random = randomFrom(seed);
  const below = (n: number) => Math.floor(random() * n);
  const anyReplica = () => replicas[below(replicas.length)] ?? expect.unreachable();
  const books = new Map(CUSTOMERS.map((id) => [id, new Book()]));
  const bookOf = (id: string) => books.get(id) ?? expect.unreachable();
  const live = new Map<string, bigint>();
  const stopped = new AbortController();
  let updates = 0;

  function check(id: string, total: bigint, watermarkMs: number, what: string): void {
    const { least, most } = bookOf(id).bounds(watermarkMs);
    expect(
      total >= least,
      `${what} of ${id} says ${total}, acknowledged before its watermark were ${least}; SEED=${seed}`,
    ).toBe(true);
    expect(total <= most, `${what} of ${id} says ${total}, sent were ${most}; SEED=${seed}`).toBe(true);
  }

  async function follow(replica: (typeof replicas)[number], id: string, key: string): Promise<void> {
    let watermarkMs = 0;
    const request = { customerId: id, meters: ["input_tokens"], period: PERIOD };
    const pace = { minUpdateInterval: { nanos: 50_000_000 }, heartbeatInterval: { seconds: 1n } };
    for await (const { event, watermarkTime } of replica.metering.streamUsage(
      { ...request, ...pace },
      { signal: stopped.signal },
    )) {
      expect(toMs(watermarkTime)).toBeGreaterThanOrEqual(watermarkMs);
      watermarkMs = toMs(watermarkTime);
      const before = live.get(key) ?? 0n;
      if (event.case === "snapshot" || event.case === "update") {
        const total = event.value.totals.at(0)?.quantity;
        if (event.case === "snapshot" || total !== undefined) live.set(key, total ?? 0n);
        updates += 1;
      }
      const now = live.get(key) ?? 0n;
      if (!bookOf(id).hasVoids)
        expect(now, `${key} went down, and nothing was voided; SEED=${seed}`).toBeGreaterThanOrEqual(before);
      check(id, now, watermarkMs, `${event.case} on ${key}`);
    }
  }

  async function write(writer: number): Promise<void> {
    for (let batch = 0; batch < BATCHES_PER_WRITER; batch += 1) {
      const { metering, admin } = anyReplica();
      const id = CUSTOMERS[below(CUSTOMERS.length)] ?? expect.unreachable();
      const facts = Array.from({ length: 1 + below(10) }, (_, i) => {
        const quantity = BigInt(1 + below(100));
        const fact = {
          quantity,
          sentMs: Date.now(),
          ackedMs: Infinity,
          voidSentMs: Infinity,
          key: `${writer}-${batch}-${i}`,
        };
        return fact;
      });
      bookOf(id).facts.push(...facts);
      const requests = facts.map(({ quantity, key }) => ({
        record: { customerId: id, idempotencyKey: key, measurements: [{ meter: "input_tokens", quantity }] },
      }));
      const { results } = await metering.batchRecordUsage({ requests });
      const ackedMs = Date.now();
      for (const [i, { result }] of results.entries()) {
        expect(result.case).toBe("response");
        const fact = facts[i];
        if (fact !== undefined) fact.ackedMs = ackedMs;
      }
      const [doomed] = facts;
      // Of the first three customers only: the others' totals never go down.
      if (doomed === undefined || CUSTOMERS.indexOf(id) > 2 || below(4) > 0) continue;
      const token = results[0]?.result.value;
      const consistencyToken = token !== undefined && "consistencyToken" in token ? token.consistencyToken : "";
      const read = await metering.getUsage({
        customerId: id,
        over: { case: "period", value: PERIOD },
        consistencyToken,
      });
      expect(read.interval).toBeDefined();
      doomed.voidSentMs = Date.now();
      await admin.voidRecord({ customerId: id, idempotencyKey: doomed.key, reason: "test" });
    }
  }

  async function read(): Promise<bigint[]> {
    return Promise.all(
      CUSTOMERS.map(async (id) => {
        const over = { case: "period", value: PERIOD } as const;
        const answer = await anyReplica().metering.getUsage({ customerId: id, over, meters: ["input_tokens"] });
        const total = answer.totals.at(0)?.quantity ?? 0n;
        check(id, total, toMs(answer.watermarkTime), "GetUsage");
        return total;
      }),
    );
  }

  const following = Promise.all(
    replicas.flatMap((replica, i) => CUSTOMERS.map((id) => follow(replica, id, `${i}/${id}`))),
  ).catch((cause: unknown) => {
    if (!stopped.signal.aborted) throw cause;
  });
  following.catch(() => {});
  const writing = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
  let written = false;
  const reading = (async () => {
    while (!written) await read();
  })();
  await Promise.race([writing, following.then(() => writing)]);
  written = true;
  await reading;
  const settled = vi.waitFor(
    async () => {
      const left = CUSTOMERS.map((id) => bookOf(id).left);
      expect(await read()).toEqual(left);
      for (const i of replicas.keys()) expect(CUSTOMERS.map((id) => live.get(`${i}/${id}`) ?? 0n)).toEqual(left);
    },
    { timeout: 60_000, interval: 200 },
  );
  await Promise.race([settled, following.then(() => settled)]);
  stopped.abort();
  await following;
  expect([...books.values()].some((book) => book.hasVoids)).toBe(true);
  expect(updates).toBeGreaterThan(CUSTOMERS.length * replicas.length);
}

describe("with Postgres intake", () => {
  test("live and read totals agree, across replicas", { timeout: 240_000 }, ({ onTestFinished }) =>
    underLoad("postgres", ["api", "api"], onTestFinished),
  );
});

describeWithRedis("with Redis intake", () => {
  test("live and read totals agree, across replicas", { timeout: 240_000 }, ({ onTestFinished }) =>
    underLoad("redis", ["api,drain", "api,drain"], onTestFinished),
  );
});

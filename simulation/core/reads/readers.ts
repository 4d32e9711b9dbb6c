// Those who read usage: some watch it, some ask for it now and then, some ask for what they have just recorded.

import { getUsage } from "../../../src/app/get-usage.ts";
import type { RecordAnswer } from "../../../src/app/record-usage.ts";
import type { UsageAnswer, UsageRequest, UsageTotal } from "../../../src/app/usage-request.ts";
import { MeteringError } from "../../../src/domain/errors.ts";
import { shardOf } from "../../../src/domain/shard.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { QUARTER_HOUR_MS } from "../../../src/domain/window.ts";
import { MODELS } from "../../catalog.ts";
import { Random } from "../../random.ts";
import type { Api } from "../clients.ts";
import { identityOf } from "../model/ledger.ts";
import { contentOf } from "../oracle.ts";
import type { Stores } from "../stores.ts";
import { DAY_MS, HOUR_MS, SECOND_MS, type World } from "../world.ts";
import { shownOf, type Viewer } from "./read-checks.ts";
import { READING_PACES } from "./reading-stores.ts";
import { Watch } from "./watch.ts";

/** Of records whose callers ask for what they have just written. */
const OWN_WRITE_SHARE = 0.1;

export class Readers {
  readonly #world: World;
  readonly #stores: Stores;
  readonly #random: Random;
  readonly #apis: () => readonly Api[];
  readonly #watches: readonly Watch[];

  constructor(world: World, stores: Stores, apis: () => readonly Api[]) {
    this.#world = world;
    this.#stores = stores;
    this.#random = new Random(world.seed, "readers");
    this.#apis = apis;
    this.#watches = Array.from({ length: this.#random.whole(1, 2) }, (_, i) => this.#newWatch(`reader-${i + 1}`));
  }

  start(): void {
    const { startMs, endMs } = this.#world;
    const { timeline } = this.#stores.reading;
    const random = this.#random;
    const sometime = () => startMs + random.unit() * (endMs - startMs);
    for (const watch of this.#watches) {
      timeline.at(startMs + random.unit() * 5 * SECOND_MS, () => watch.connect());
      for (let n = random.whole(0, 3); n > 0; n -= 1) timeline.at(sometime(), () => watch.connect());
      for (let n = random.whole(0, 2); n > 0; n -= 1) timeline.at(sometime(), () => watch.forget());
    }
    const viewers = new Map<string, Viewer>();
    for (let n = random.whole(0, 12); n > 0; n -= 1) {
      const asked = this.#drawAsked();
      const viewer = viewers.get(asked.customerId) ?? newViewer(`asker of ${asked.customerId}`);
      viewers.set(asked.customerId, viewer);
      timeline.at(sometime(), () => this.#ask(viewer, asked, []));
    }
  }

  /** A caller was told that its record is safe, and may ask to see it. */
  acknowledged(record: UsageRecord, answer: RecordAnswer): void {
    if ("error" in answer || !this.#random.chance(OWN_WRITE_SHARE)) return;
    const startMs = Math.floor(record.eventTimeMs / DAY_MS) * DAY_MS;
    const own = { ...this.#drawAsked(), customerId: record.customerId, apiKeyId: undefined, models: [], meters: [] };
    const over = { startMs, endMs: startMs + DAY_MS };
    const request = { ...own, over, consistencyToken: answer.consistencyToken };
    this.#ask(newViewer(`writer of ${identityOf(record)}`), request, [record]);
  }

  /** Hours matter from now on. */
  slowDown(): void {
    this.#stores.reading.pace = READING_PACES.settling;
  }

  /** Whether every stream has shown what is in the sums. */
  get areCaughtUp(): boolean {
    const { ledger } = this.#stores;
    return this.#watches.every(
      ({ customerId, version }) => version === ledger.versionOf(shardOf(customerId, ledger.shardRows.length)),
    );
  }

  /** In the end: what there is, page by page, is all that was recorded. */
  async readAll(): Promise<void> {
    for (const { customerId } of this.#world.customers) {
      const asked = { ...this.#drawAsked(), customerId, apiKeyId: undefined, models: [], meters: [] };
      const over = {
        startMs: floorTo(this.#world.startMs - 2 * DAY_MS),
        endMs: floorTo(this.#world.endMs + 2 * DAY_MS),
      };
      const request = { ...asked, over, windowSize: "all" as const, pageSize: this.#random.whole(1, 3) };
      const [api] = this.#apis();
      if (api === undefined) throw new Error("no process is left to read from");
      const totals: UsageTotal[] = [];
      let answer: UsageAnswer | undefined;
      do {
        const page = { ...request, pageToken: answer?.nextPageToken ?? "" };
        answer = await getUsage(api.reading.dependencies, page, { signal: new AbortController().signal });
        totals.push(...answer.totals);
      } while (answer.nextPageToken !== "");
      this.#check(
        newViewer(`reader of all of ${customerId}`),
        request,
        { ...answer, totals },
        this.#versionOf(customerId),
        [],
      );
    }
  }

  #newWatch(name: string): Watch {
    const random = this.#random;
    const { customerId, groupByApiKey, groupByModel, apiKeyId, models, meters } = this.#drawAsked();
    const asked = { customerId, groupByApiKey, groupByModel, groupByLabels: [], apiKeyId, models, meters };
    const over = random.pick(["default", "billing_period", "default", "today"] as const);
    const minUpdateIntervalMs = random.pick([250, SECOND_MS, 5 * SECOND_MS]);
    const heartbeatIntervalMs = random.pick([2, 10, 30]) * SECOND_MS;
    const { reading, weather, history } = this.#stores;
    return new Watch({
      name,
      request: { ...asked, over, minUpdateIntervalMs, heartbeatIntervalMs },
      stores: reading,
      random,
      weather,
      history,
      apis: this.#apis,
    });
  }

  #drawAsked(): UsageRequest {
    const random = this.#random;
    const { startMs, endMs } = this.#world;
    const fromMs = floorTo(startMs + random.unit() * (endMs - startMs)) - random.whole(0, 8) * QUARTER_HOUR_MS;
    const interval = { startMs: fromMs, endMs: fromMs + random.whole(1, 200) * QUARTER_HOUR_MS };
    const over = random.pick(["default", "default", "today", interval, interval] as const);
    return {
      customerId: random.pick(this.#world.customers).customerId,
      apiKeyId: random.chance(0.8) ? undefined : random.pick(["", "key"]),
      models: random.chance(0.8) ? [] : [random.pick(MODELS)],
      meters: random.chance(0.8) ? [] : ["output_tokens"],
      groupByApiKey: random.chance(0.4),
      groupByModel: random.chance(0.4),
      groupByLabels: [],
      over,
      timeZone: "UTC",
      // Hours of a month are many.
      windowSize: random.pick(["all", "all", over === interval ? "hour" : "all", "day"] as const),
      consistencyToken: "",
      pageSize: 1_000,
      pageToken: "",
    };
  }

  #ask(asker: Viewer, request: UsageRequest, own: readonly UsageRecord[]): void {
    // What was seen before it asked: answers to two questions at once come in any order.
    const viewer = { ...asker };
    const { reading, weather, history } = this.#stores;
    const { timeline } = reading;
    const random = this.#random;
    const living = this.#apis();
    const rates = weather.of("api");
    if (living.length === 0 || random.chance(rates.lostBefore)) return;
    const api = random.pick(living);
    const isLost = random.chance(rates.lostAfter);
    const sinceVersion = this.#versionOf(request.customerId);
    const deadline = new AbortController();
    timeline.after(20 * SECOND_MS * reading.pace.stretch, () => deadline.abort());
    const ask = () =>
      void getUsage(api.reading.dependencies, request, { signal: deadline.signal }).then(
        (answer) => {
          if (isLost) return;
          this.#check(viewer, request, answer, sinceVersion, own);
          asker.seenWatermarkMs = Math.max(asker.seenWatermarkMs, answer.watermarkMs);
        },
        (cause: unknown) => {
          history.note(() => `${viewer.name}: ${String(cause)}`, viewer.name);
          this.#refused(viewer, request, cause);
        },
      );
    timeline.after(5 * random.unit(), () => api.machine.deliver(ask, timeline));
  }

  #check(
    viewer: Viewer,
    request: UsageRequest,
    { interval, totals, watermarkMs }: Pick<UsageAnswer, "interval" | "totals" | "watermarkMs">,
    sinceVersion: bigint,
    own: readonly UsageRecord[],
  ): void {
    const { reading, ledger, oracle } = this.#stores;
    const grainMs = { all: 0, hour: HOUR_MS, day: DAY_MS, quarter_hour: QUARTER_HOUR_MS, month: 0 }[request.windowSize];
    const excused = (record: UsageRecord) =>
      oracle.refused.has(`${identityOf(record)} ${contentOf(record)}`) ||
      oracle.lost.some((one) => identityOf(one.record) === identityOf(record));
    const missing = own.find((record) => !oracle.applied.has(identityOf(record)) && !excused(record));
    if (missing !== undefined)
      oracle.fail(
        "own write",
        `${viewer.name} reads by its token, and the record is not in the ledger`,
        identityOf(missing),
      );
    reading.checks.answered(
      viewer,
      shownOf(request, interval, grainMs, totals, watermarkMs),
      sinceVersion,
      ledger,
      own,
    );
  }

  /** A token is refused as lost only where a stream was. */
  #refused(viewer: Viewer, { customerId }: UsageRequest, cause: unknown): void {
    if (!(cause instanceof MeteringError) || cause.failure.kind !== "token_expired") return;
    const { ledger, oracle } = this.#stores;
    const shard = shardOf(customerId, ledger.shardRows.length);
    if (!ledger.gaps.some((gap) => gap.shard === shard))
      oracle.fail("own write", `${viewer.name} hears that its token expired, and no stream was lost`, viewer.name);
  }

  #versionOf(customerId: string): bigint {
    const { ledger } = this.#stores;
    return ledger.versionOf(shardOf(customerId, ledger.shardRows.length));
  }
}

function newViewer(name: string): Viewer {
  return { name, seenWatermarkMs: Number.NEGATIVE_INFINITY, seenVersion: -1n };
}

function floorTo(timeMs: number): number {
  return Math.floor(timeMs / QUARTER_HOUR_MS) * QUARTER_HOUR_MS;
}

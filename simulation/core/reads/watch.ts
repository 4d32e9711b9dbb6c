// A reader that watches its customer's totals: it keeps what it was sent, and comes back with its resume token when a stream breaks.
import type { UsageTotal, WatchEvent, WatchRequest } from "../../../src/app/usage-request.ts";
import { watchUsage } from "../../../src/app/watch-usage.ts";
import type { Interval } from "../../../src/domain/window.ts";
import type { Random } from "../../random.ts";
import type { Api } from "../clients.ts";
import type { History } from "../history.ts";
import type { Weather } from "../weather.ts";
import { shownOf, type Viewer } from "./read-checks.ts";
import type { ReadingStores } from "./reading-stores.ts";

export interface WatchOptions {
  readonly name: string;
  readonly request: Omit<WatchRequest, "resumeToken">;
  readonly stores: ReadingStores;
  readonly random: Random;
  readonly weather: Weather;
  readonly history: History;
  /** Those that live now. */
  readonly apis: () => readonly Api[];
}

const RETRY_MS = 500;
/** Heartbeats that do not come, until the reader believes that nobody is there. */
const SILENT_HEARTBEATS = 3;
const NOTHING = new Uint8Array();

export class Watch {
  readonly #options: WatchOptions;
  readonly #viewer: Viewer;
  #resumeToken: Uint8Array = NOTHING;
  #held: { readonly interval: Interval; readonly totals: ReadonlyMap<string, UsageTotal> } | undefined;
  /** Of the last event. */
  #version = -1n;
  #streams = 0;
  #hangUp = new AbortController();
  #heardMs = 0;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#viewer = { name: options.name, seenWatermarkMs: Number.NEGATIVE_INFINITY, seenVersion: -1n };
  }

  get customerId(): string {
    return this.#options.request.customerId;
  }

  get version(): bigint {
    return this.#version;
  }

  /** The reader dies with all that it held, and another comes. */
  forget(): void {
    this.#resumeToken = NOTHING;
    this.#held = undefined;
    this.#version = -1n;
    this.connect();
  }

  /** A stream, in place of the one that there is. */
  connect(): void {
    const { name, stores, random, weather, history, apis } = this.#options;
    const { timeline } = stores;
    this.#streams += 1;
    const stream = this.#streams;
    this.#hangUp.abort();
    this.#hangUp = new AbortController();
    this.#heardMs = timeline.nowMs;
    const living = apis();
    if (living.length === 0 || random.chance(weather.of("api").lostBefore)) {
      this.#again(stream);
      return;
    }
    const api = random.pick(living);
    history.note(() => `${name}: watches ${this.customerId} at ${api.machine.name}`, name);
    const { signal } = this.#hangUp;
    const open = () =>
      void this.#consume(api, stream, signal)
        .catch((cause: unknown) => history.note(() => `${name}: its stream broke: ${String(cause)}`, name))
        .then(() => this.#again(stream));
    timeline.after(this.#hopMs(), () => api.machine.deliver(open, timeline));
    this.#watchOver(stream);
  }

  #again(stream: number): void {
    const { stores, random } = this.#options;
    const retry = () => (stream === this.#streams ? this.connect() : undefined);
    stores.timeline.after(RETRY_MS * (0.5 + random.unit()) * stores.pace.stretch, retry);
  }

  /** Gives up on a stream that is silent. */
  #watchOver(stream: number): void {
    const { request, stores } = this.#options;
    const patienceMs = SILENT_HEARTBEATS * (request.heartbeatIntervalMs * stores.pace.stretch + stores.pace.leastMs);
    stores.timeline.at(this.#heardMs + patienceMs, () => {
      if (stream !== this.#streams) return;
      if (stores.timeline.nowMs - this.#heardMs >= patienceMs) this.connect();
      else this.#watchOver(stream);
    });
  }

  async #consume({ reading, draining }: Api, stream: number, hungUp: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([hungUp, draining]);
    const request = { ...this.#options.request, resumeToken: this.#resumeToken };
    for await (const event of watchUsage(reading.dependencies, reading.feeds, request, { signal })) {
      await this.#onItsWay();
      if (stream !== this.#streams) return;
      this.#hear(event);
    }
  }

  #onItsWay(): Promise<void> {
    const { random, stores, weather } = this.#options;
    // A slow reader.
    const slowMs = random.chance(weather.of("api").slow) ? random.spread(100, 5_000) * stores.pace.stretch : 0;
    return new Promise((resolve) => stores.timeline.after(this.#hopMs() + slowMs, resolve));
  }

  #hopMs(): number {
    return 5 * (0.1 + this.#options.random.unit());
  }

  #hear(event: WatchEvent): void {
    const { name, request, stores, history } = this.#options;
    this.#heardMs = stores.timeline.nowMs;
    this.#resumeToken = event.resumeToken;
    const { version } = stores.tokens.open("resume", Buffer.from(event.resumeToken).toString(), "") as {
      readonly version: string;
    };
    history.note(() => `${name}: ${event.kind}, version ${version}, watermark ${event.watermarkMs}`, name);
    const isNews = event.kind !== "heartbeat" || this.#version !== BigInt(version);
    this.#version = BigInt(version);
    if (event.kind === "snapshot") this.#held = { interval: event.interval, totals: byKey(event.totals) };
    else if (event.kind === "update") this.#merge(event.totals);
    const held = this.#held;
    // A stream that begins with anything but a snapshot, for a reader who holds nothing, shows nothing.
    const interval = held?.interval ?? { startMs: 0, endMs: Number.MAX_SAFE_INTEGER };
    const totals = held === undefined || !isNews ? [] : held.totals.values();
    const shown = shownOf(request, interval, 0, totals, event.watermarkMs);
    if (isNews) stores.checks.streamed(this.#viewer, shown, this.#version);
    else stores.checks.watermark(this.#viewer, shown, this.#version);
  }

  #merge(changed: readonly UsageTotal[]): void {
    const held = this.#held;
    if (held === undefined) return;
    const totals = new Map(held.totals);
    for (const [key, total] of byKey(changed)) {
      if (total.recordCount === 0n) totals.delete(key);
      else totals.set(key, total);
    }
    this.#held = { ...held, totals };
  }
}

function byKey(totals: readonly UsageTotal[]): ReadonlyMap<string, UsageTotal> {
  return new Map(totals.map((total) => [JSON.stringify([total.meter, total.apiKeyId, total.model]), total]));
}

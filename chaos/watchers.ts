// Two readers that look on all the while: one asks both APIs in turn, one keeps a stream a customer open, over whatever breaks it. What
// they are told may never go back; and all that was acknowledged before a watermark must be in the totals told with it.
import { setTimeout as delay } from "node:timers/promises";
import type { Client, ClientReadableStream } from "@grpc/grpc-js";
import {
  type GetUsageResponse,
  MeteringService,
  type StreamUsageResponse,
} from "../gen/metering/v1/metering_service_pb.ts";
import { NamedPeriod, type UsageTotal } from "../gen/metering/v1/usage_pb.ts";
import { CallFailure } from "../src/rpc/client.ts";
import { call, openClient, openStream } from "./calls.ts";

const POLL_MS = 100;
const RECONNECT_MS = 300;
const HEARTBEAT_S = 2n;
/** A stream that is silent for so long is broken, though nobody said so. */
const SILENCE_MS = 15_000;

/** What a reading said: of all records of a customer acknowledged before the watermark, so many were counted. */
export interface Reading {
  readonly customerId: string;
  readonly atMs: number;
  readonly watermarkMs: number;
  readonly requests: bigint;
}

export interface WatchersOptions {
  readonly apiTargets: readonly string[];
  readonly customerIds: readonly string[];
  /** Holds all usage. */
  readonly interval: { readonly startMs: number; readonly endMs: number };
  readonly onViolation: (message: string, customerId: string) => void;
}

/** Asks for each customer's usage, one API after the other, one question at a time: so what is told later can never be less. */
export class ReadWatch {
  readonly readings: Reading[] = [];
  /** Questions that were not answered. */
  failures = 0;
  readonly #options: WatchersOptions;
  readonly #clients: readonly Client[];
  readonly #last = new Map<string, { watermarkMs: number; requests: bigint; tokens: bigint }>();
  #isStopping = false;
  #running: Promise<void> | undefined;

  constructor(options: WatchersOptions) {
    this.#options = options;
    this.#clients = options.apiTargets.map((target) => openClient(target, false));
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
    for (const client of this.#clients) client.close();
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#isStopping; turn += 1) {
      const { customerIds } = this.#options;
      const customerId = customerIds[Math.floor(turn / this.#clients.length) % customerIds.length] ?? "";
      const client = this.#clients[turn % this.#clients.length];
      if (client !== undefined) await this.#ask(client, customerId);
      await delay(POLL_MS);
    }
  }

  async #ask(client: Client, customerId: string): Promise<void> {
    const { startMs, endMs } = this.#options.interval;
    const value = { startTime: { seconds: BigInt(startMs / 1_000) }, endTime: { seconds: BigInt(endMs / 1_000) } };
    let answer: GetUsageResponse;
    try {
      answer = await call(client, MeteringService.method.getUsage, { customerId, over: { case: "interval", value } });
    } catch (cause) {
      if (!(cause instanceof CallFailure)) throw cause;
      this.failures += 1;
      return;
    }
    const { requests, tokensUsed: tokens, watermarkTime } = answer;
    const watermarkMs = millis(watermarkTime);
    this.readings.push({ customerId, atMs: Date.now(), watermarkMs, requests });
    const last = this.#last.get(customerId);
    const went = (what: string, from: unknown, to: unknown) =>
      this.#options.onViolation(`GetUsage: ${what} of ${customerId} go back from ${from} to ${to}`, customerId);
    if (last !== undefined && watermarkMs < last.watermarkMs) went("watermarks", last.watermarkMs, watermarkMs);
    if (last !== undefined && requests < last.requests) went("requests", last.requests, requests);
    if (last !== undefined && tokens < last.tokens) went("tokens", last.tokens, tokens);
    this.#last.set(customerId, { watermarkMs, requests, tokens });
  }
}

/** Keeps a stream open for one customer; reconnects to the other API with the last resume token. */
export class LiveWatch {
  readonly customerId: string;
  events = 0;
  reconnects = 0;
  readonly #options: WatchersOptions;
  readonly #clients: readonly Client[];
  /** By meter, of the running period. */
  #totals = new Map<string, bigint>();
  #periodStartMs = 0;
  #watermarkMs = 0;
  #resumeToken: Uint8Array = new Uint8Array();
  #stream: ClientReadableStream<StreamUsageResponse> | undefined;
  #isStopping = false;
  #running: Promise<void> | undefined;

  constructor(options: WatchersOptions, customerId: string) {
    this.#options = options;
    this.customerId = customerId;
    this.#clients = options.apiTargets.map((target) => openClient(target, false));
  }

  /** As last told. Zeros left out. */
  get totals(): ReadonlyMap<string, bigint> {
    return new Map([...this.#totals].filter(([, quantity]) => quantity !== 0n));
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#stream?.cancel();
    await this.#running;
    for (const client of this.#clients) client.close();
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#isStopping; turn += 1) {
      const client = this.#clients[turn % this.#clients.length];
      if (client !== undefined) await this.#follow(client);
      this.reconnects += 1;
      await delay(RECONNECT_MS);
    }
  }

  /** Until the stream ends, for whatever reason. */
  #follow(client: Client): Promise<void> {
    const stream = openStream(client, {
      customerId: this.customerId,
      period: NamedPeriod.BILLING_PERIOD,
      heartbeatInterval: { seconds: HEARTBEAT_S },
      resumeToken: this.#resumeToken,
    });
    this.#stream = stream;
    return new Promise((resolve) => {
      const silence = setTimeout(() => stream.cancel(), SILENCE_MS);
      const end = () => {
        clearTimeout(silence);
        resolve();
      };
      stream.on("data", (event: StreamUsageResponse) => {
        silence.refresh();
        this.#take(event);
      });
      stream.on("error", (cause: Error & { code?: number }) => {
        // OUT_OF_RANGE: the token no longer fits; start over.
        if (cause.code === 11) this.#resumeToken = new Uint8Array();
        end();
      });
      stream.on("end", end);
    });
  }

  #take({ event, resumeToken, watermarkTime }: StreamUsageResponse): void {
    this.events += 1;
    this.#resumeToken = resumeToken;
    const watermarkMs = millis(watermarkTime);
    if (watermarkMs < this.#watermarkMs) this.#wentBack("the watermark", this.#watermarkMs, watermarkMs);
    this.#watermarkMs = Math.max(watermarkMs, this.#watermarkMs);
    if (event.case === "snapshot") {
      const startMs = millis(event.value.interval?.startTime);
      const isSamePeriod = startMs === this.#periodStartMs;
      const before = isSamePeriod ? this.#totals : new Map<string, bigint>();
      this.#periodStartMs = startMs;
      this.#totals = new Map();
      this.#merge(event.value.totals, before);
      for (const [meter, quantity] of before)
        if (!this.#totals.has(meter) && quantity !== 0n) this.#wentBack(meter, quantity, 0n);
    } else if (event.case === "update") this.#merge(event.value.totals, this.#totals);
  }

  #merge(totals: readonly UsageTotal[], before: ReadonlyMap<string, bigint>): void {
    for (const { meter, quantity } of totals) {
      const last = before.get(meter) ?? 0n;
      if (quantity < last) this.#wentBack(meter, last, quantity);
      this.#totals.set(meter, quantity);
    }
  }

  #wentBack(what: string, from: unknown, to: unknown): void {
    this.#options.onViolation(
      `StreamUsage: ${what} of ${this.customerId} goes back from ${from} to ${to}`,
      this.customerId,
    );
  }
}

/** Totals by meter as GetUsage tells them, of the same period. */
export async function readTotals(target: string, customerId: string): Promise<ReadonlyMap<string, bigint>> {
  const client = openClient(target, true);
  try {
    const question = { customerId, over: { case: "period", value: NamedPeriod.BILLING_PERIOD } } as const;
    const { totals } = await call(client, MeteringService.method.getUsage, question);
    return new Map(totals.filter(({ quantity }) => quantity !== 0n).map(({ meter, quantity }) => [meter, quantity]));
  } finally {
    client.close();
  }
}

function millis(time: { readonly seconds: bigint; readonly nanos: number } | undefined): number {
  return Number(time?.seconds ?? 0n) * 1_000 + Math.floor((time?.nanos ?? 0) / 1_000_000);
}

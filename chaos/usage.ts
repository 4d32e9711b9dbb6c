// The usage that clients send: drawn from the seed, but for event times, which follow the clock.
import { MODELS } from "../simulation/catalog.ts";
import type { Random } from "../simulation/random.ts";

/** What a record says; quantities are small enough to be plain numbers. */
export interface Usage {
  readonly customerId: string;
  readonly key: string;
  readonly apiKeyId: string;
  readonly eventMs: number;
  readonly model: string;
  readonly input: number;
  readonly output: number;
}

/** A customer, and when its usage happens: in minutes of hours that are over, or now. */
export interface Payer {
  readonly customerId: string;
  /** Starts of minutes; undefined: now. */
  readonly minutesMs: readonly number[] | undefined;
}

/** What a client does next. */
export interface Act {
  /** one: RecordUsage. batch: BatchRecordUsage. twice: the same call twice at once. repeat: again what was sent before. reuse: other usage under a used key. */
  readonly kind: "one" | "batch" | "twice" | "repeat" | "reuse";
  readonly usages: readonly Usage[];
}

const API_KEYS = ["key_backend", "key_batch", "key_notebook"];
const BATCH_MAX = 40;
/** Of what was sent before, so much is remembered to be repeated or contradicted. */
const REMEMBERED = 2_000;
/** Usage is told of a little after it happened. */
const TOLD_LATE_MS = 45_000;

export class UsageSource {
  readonly #random: Random;
  readonly #payers: readonly Payer[];
  readonly #prefix: string;
  readonly #past: Usage[] = [];
  #count = 0;

  /** `prefix` keeps the keys of two clients, or of two lives of one, apart. */
  constructor(random: Random, payers: readonly Payer[], prefix: string) {
    this.#random = random;
    this.#payers = payers;
    this.#prefix = prefix;
  }

  next(nowMs: number): Act {
    const random = this.#random;
    const draw = random.unit();
    if (draw < 0.1) return { kind: "batch", usages: this.#fresh(random.whole(2, BATCH_MAX), nowMs) };
    if (draw < 0.2) return { kind: "twice", usages: this.#fresh(1, nowMs) };
    if (draw < 0.35 && this.#past.length > 0) return { kind: "repeat", usages: [random.pick(this.#past)] };
    if (draw < 0.4 && this.#past.length > 0) {
      const used = random.pick(this.#past);
      return { kind: "reuse", usages: [{ ...used, input: used.input + random.whole(1, 1_000) }] };
    }
    return { kind: "one", usages: this.#fresh(1, nowMs) };
  }

  #fresh(count: number, nowMs: number): Usage[] {
    const usages = Array.from({ length: count }, () => this.#one(nowMs));
    this.#past.push(...usages);
    if (this.#past.length > REMEMBERED) this.#past.splice(0, this.#past.length - REMEMBERED);
    return usages;
  }

  #one(nowMs: number): Usage {
    const random = this.#random;
    this.#count += 1;
    const { customerId, minutesMs } = random.pick(this.#payers);
    const eventMs =
      minutesMs === undefined
        ? nowMs - random.whole(0, TOLD_LATE_MS)
        : random.pick(minutesMs) + random.whole(0, 59_999);
    return {
      customerId,
      key: `${this.#prefix}-${this.#count}`,
      apiKeyId: random.pick(API_KEYS),
      eventMs,
      model: random.pick(MODELS),
      input: random.whole(0, 2_000),
      output: random.whole(0, 500),
    };
  }
}

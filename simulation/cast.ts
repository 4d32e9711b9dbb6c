// The people of the world put onto the timeline: customers subscribe, leave, pause, are mapped; their records reach the service.
import { compareText, fingerprintOf, type UsageRecord } from "../src/domain/usage-record.ts";
import type { KnownCustomer } from "./checks.ts";
import type { Deployment } from "./deployment.ts";
import type { Operator } from "./operator.ts";
import type { Oracle } from "./oracle.ts";
import type { SimulatedAccount } from "./simulated-account.ts";
import type { Happening, Timeline } from "./timeline.ts";
import type { VirtualClock } from "./virtual-clock.ts";
import { DAY_MS, MINUTE_MS, type World, type WorldCustomer, type WorldRecord } from "./world.ts";

export interface CastParts {
  readonly world: World;
  readonly account: SimulatedAccount;
  readonly deployment: Deployment;
  readonly oracle: Oracle;
  readonly timeline: Timeline;
  readonly clock: VirtualClock;
  readonly operator: Operator;
}

/** An operator looks at what Stripe refused, mends the cause, and has it sent again. */
const OPERATOR_MS = 3 * DAY_MS;

/** Around a renewal, the service is given its turns often: draft, grace, finalization. */
const AROUND_RENEWAL_MS = [-10_000, 5_000, 90_000, 10 * MINUTE_MS, 20 * MINUTE_MS, 35 * MINUTE_MS, 55 * MINUTE_MS];
/** An intake that is away is tried again after this. */
const RECORD_AGAIN_MS = 5 * MINUTE_MS;
/** Records that arrive this close together come in one call. */
const TOGETHER_MS = 2_000;

export class Cast {
  readonly #parts: CastParts;
  readonly known: KnownCustomer[] = [];
  readonly counts = { duplicates: 0, refused: 0, voided: 0 };

  constructor(parts: CastParts) {
    this.#parts = parts;
  }

  /** Makes the customers, and puts on the timeline what they will do. */
  async enter(): Promise<void> {
    const { world, account, timeline, operator } = this.#parts;
    for (const { index, mapping } of world.customers) {
      const stripeCustomerId = await account.addCustomer(`customer ${index}`);
      const customerId = mapping === undefined ? stripeCustomerId : `acct-${index}`;
      this.known.push({ index, customerId, stripeCustomerId, mapped: mapping?.atMs !== Number.POSITIVE_INFINITY });
    }
    timeline.putAll(world.customers.flatMap((customer) => this.#doingsOf(customer)));
    timeline.putAll(this.#arrivals());
    timeline.putAll(world.voids.map(({ record, atMs }) => ({ atMs, run: () => this.#void(record) })));
    for (let atMs = world.startMs + OPERATOR_MS; atMs <= world.endMs + OPERATOR_MS; atMs += OPERATOR_MS) {
      timeline.put(Math.min(atMs, world.endMs), () => operator.retryHeld());
    }
  }

  #doingsOf({ index, subscribing, leaving, pausing, mapping }: WorldCustomer): Happening[] {
    const { account, operator } = this.#parts;
    const { customerId, stripeCustomerId } = this.#customer(index);
    let subscription = "";
    const doings: Happening[] = [];
    const at = (atMs: number, run: () => Promise<void>) => doings.push({ atMs, run });
    at(subscribing.atMs, async () => {
      subscription = await account.subscribe(stripeCustomerId, subscribing);
    });
    if (leaving !== undefined) at(leaving.atMs, () => account.leave(subscription, leaving));
    if (pausing !== undefined) {
      at(pausing.atMs, () => account.pause(subscription, true));
      at(pausing.untilMs, () => account.pause(subscription, false));
    }
    if (mapping !== undefined && Number.isFinite(mapping.atMs)) {
      at(mapping.atMs, async () => {
        if (mapping.by === "metadata") await account.nameCustomer(stripeCustomerId, customerId);
        else await operator.map(customerId, stripeCustomerId);
      });
    }
    for (const months of [0, 1, 2]) {
      const renewal = new Date(subscribing.anchorMs);
      renewal.setUTCMonth(renewal.getUTCMonth() + months);
      for (const byMs of AROUND_RENEWAL_MS) at(renewal.getTime() + byMs, async () => {});
    }
    return doings;
  }

  #arrivals(): Happening[] {
    const calls: { atMs: number; records: WorldRecord[] }[] = [];
    for (const record of this.#parts.world.records) {
      const last = calls.at(-1);
      if (last !== undefined && record.arrivesMs - last.atMs < TOGETHER_MS) last.records.push(record);
      else calls.push({ atMs: record.arrivesMs, records: [record] });
    }
    // A call is made when its last record is there.
    return calls.map(({ records }) => {
      return { atMs: records.at(-1)?.arrivesMs ?? 0, run: () => this.#record(records) };
    });
  }

  async #record(records: readonly WorldRecord[]): Promise<void> {
    const { deployment, oracle, timeline, clock } = this.#parts;
    const results = await deployment.record(records.map((record) => this.#usageRecord(record)));
    if (results === undefined) {
      timeline.put(clock.nowMs() + RECORD_AGAIN_MS, () => this.#record(records));
      return;
    }
    const away: WorldRecord[] = [];
    for (const [i, record] of records.entries()) {
      const result = results[i];
      if (result === undefined) throw new Error(`no result for ${record.key}`);
      if ("error" in result) {
        if (result.error.failure.kind === "idempotency_key_reused") this.counts.refused += 1;
        else away.push(record);
      } else if (result.outcome === "duplicate" && oracle.has(record)) this.counts.duplicates += 1;
      // A duplicate of a call whose answer was lost is new to the caller.
      else oracle.recorded(record, clock.nowMs());
    }
    if (away.length > 0) timeline.put(clock.nowMs() + RECORD_AGAIN_MS, () => this.#record(away));
  }

  /** Only what was recorded, and as it was: another record may stand under the key. */
  async #void(record: WorldRecord): Promise<void> {
    const { operator, oracle } = this.#parts;
    if (!oracle.has(record)) return;
    await operator.voidRecord(this.#customer(record.customer).customerId, record.key);
    if (oracle.voided(record)) this.counts.voided += 1;
  }

  #usageRecord({ customer, key, eventTimeMs, model, input, output }: WorldRecord): UsageRecord {
    const sent = {
      customerId: this.#customer(customer).customerId,
      idempotencyKey: key,
      apiKeyId: "",
      model,
      measurements: [
        { meter: "input_tokens", quantity: input },
        { meter: "output_tokens", quantity: output },
      ].sort((a, b) => compareText(a.meter, b.meter)),
      labels: [],
      sentEventTime: { seconds: BigInt(Math.floor(eventTimeMs / 1_000)), nanos: (eventTimeMs % 1_000) * 1_000_000 },
    };
    const { sentEventTime: _, ...rest } = sent;
    return { ...rest, eventTimeMs, fingerprint: fingerprintOf(sent) };
  }

  #customer(index: number): KnownCustomer {
    const customer = this.known[index];
    if (customer === undefined) throw new Error(`there is no customer ${index}`);
    return customer;
  }
}

// An operator who takes records back: new ones and such as were billed long ago, the same one twice, and some that wait in the buffer still.
import type { VoidLedger } from "../../src/app/ports/ledger.ts";
import { type VoidAnswer, voidRecord } from "../../src/app/void-record.ts";
import { MeteringError } from "../../src/domain/errors.ts";
import { Random } from "../random.ts";
import { Machine } from "./machine.ts";
import { contentOf } from "./oracle.ts";
import type { Timeline } from "./scheduler.ts";
import type { Stores } from "./stores.ts";
import type { Wire } from "./wire.ts";
import { HOUR_MS, SECOND_MS, type World } from "./world.ts";

const ATTEMPTS = 10;

export class Voiding {
  readonly #stores: Stores;
  readonly #random: Random;
  readonly #timeline: Timeline;
  readonly #ledger: VoidLedger;
  readonly #retryMs: number;
  /** Told that this call, and no earlier one, took it back. */
  readonly #told = new Set<string>();
  #open = 0;

  constructor(world: World, stores: Stores) {
    const { scheduler, databaseWire, ledger, databaseNowMs } = stores;
    const { seed, pace, startMs, endMs } = world;
    this.#stores = stores;
    this.#random = new Random(seed, "voids");
    this.#timeline = scheduler.beside(new Random(seed, "order of voids"));
    this.#retryMs = pace === "minutes" ? 5 * SECOND_MS : HOUR_MS;
    const wire: Wire = databaseWire.beside(this.#timeline, new Random(seed, "way of the operator"));
    const machine = new Machine("operator", this.#timeline, { offsetMs: 0, rate: 1 });
    this.#ledger = { voidRecord: (request) => wire.call(machine, () => ledger.voidRecord(request, databaseNowMs())) };
    const random = this.#random;
    if (random.chance(0.4)) return;
    // After invoices are final, too.
    const untilMs = random.chance(0.2) ? endMs + 20 * HOUR_MS : endMs;
    for (let n = random.whole(1, 8); n > 0; n -= 1) {
      this.#open += 1;
      this.#timeline.at(startMs + random.unit() * (untilMs - startMs), () => this.#begin());
    }
  }

  /** Whether nothing is to be taken back any more. */
  get isOver(): boolean {
    return this.#open === 0;
  }

  #begin(): void {
    const random = this.#random;
    const { oracle } = this.#stores;
    const identities = [...(random.chance(0.8) ? oracle.applied : oracle.sent).keys()];
    this.#open -= 1;
    if (identities.length === 0) return;
    const identity = random.pick(identities);
    for (let n = random.chance(0.7) ? 1 : 2; n > 0; n -= 1) {
      this.#open += 1;
      this.#timeline.after(random.chance(0.5) ? 0 : random.unit() * 10 * this.#retryMs, () =>
        this.#attempt(identity, ATTEMPTS),
      );
    }
  }

  #attempt(identity: string, left: number): void {
    const { oracle, history } = this.#stores;
    const [customerId = "", idempotencyKey = ""] = identity.split(" ");
    const wasCounted = oracle.applied.has(identity);
    history.note(() => `operator: takes back ${identity}`, identity);
    voidRecord(this.#ledger, { customerId, idempotencyKey, reason: "by mistake" }).then(
      (answer) => {
        this.#open -= 1;
        this.#hear(identity, answer);
      },
      (cause: unknown) => {
        const isUnknown = cause instanceof MeteringError && cause.failure.kind === "record_not_found";
        if (isUnknown && wasCounted)
          oracle.fail("void", `${identity} is in the ledger, and could not be found to be taken back`, identity);
        if (left <= 1) this.#open -= 1;
        else this.#timeline.after(this.#retryMs, () => this.#attempt(identity, left - 1));
      },
    );
  }

  #hear(identity: string, { outcome, ...record }: VoidAnswer): void {
    const { oracle, history } = this.#stores;
    history.note(() => `operator: ${identity} is ${outcome}`, identity);
    const counted = oracle.applied.get(identity);
    if (counted === undefined || !oracle.voided.has(identity))
      oracle.fail("void", `${identity} is said to be ${outcome}, and is not`, identity);
    else if (contentOf({ ...counted, ...record }) !== contentOf(counted))
      oracle.fail("void", `${identity} is said to have been another record`, identity);
    if (outcome === "voided" && this.#told.has(identity))
      oracle.fail("void", `two calls are told that they took back ${identity}`, identity);
    if (outcome === "voided") this.#told.add(identity);
  }
}

// The service's clients: each sends records, under the same keys until it is told how they ended, or until it gives up.
import type { RecordAnswer, RecordUsage } from "../../src/app/record-usage.ts";
import type { UsageRecord } from "../../src/domain/usage-record.ts";
import type { Random } from "../random.ts";
import type { History } from "./history.ts";
import type { Machine } from "./machine.ts";
import { identityOf } from "./model/ledger.ts";
import type { Oracle } from "./oracle.ts";
import type { ReadingParts } from "./reads/reading-stores.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Weather } from "./weather.ts";
import type { Submission } from "./world.ts";

/** A process that records usage, and shows it. */
export interface Api {
  readonly machine: Machine;
  readonly usage: RecordUsage;
  readonly reading: ReadingParts;
  /** Aborts when the process is told to stop: streams are ended then. */
  readonly draining: AbortSignal;
}

export interface ClientsOptions {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly weather: Weather;
  readonly oracle: Oracle;
  readonly history: History;
  /** Those that live now. */
  readonly apis: () => readonly Api[];
  /** After which a call has failed. */
  readonly timeoutMs: number;
  readonly hopMs: number;
  /** Told of each record that was acknowledged. */
  readonly onAcknowledged: (record: UsageRecord, answer: RecordAnswer) => void;
}

export class Clients {
  readonly #options: ClientsOptions;
  #open = 0;

  constructor(options: ClientsOptions) {
    this.#options = options;
  }

  /** Submissions that are not over. */
  get open(): number {
    return this.#open;
  }

  start(submissions: readonly Submission[]): void {
    for (const { atMs, records, attempts } of submissions) {
      this.#open += 1;
      this.#options.scheduler.at(atMs, () => this.#attempt(records, attempts));
    }
  }

  #attempt(records: readonly UsageRecord[], left: number): void {
    const { scheduler, random, weather, oracle, history, apis, timeoutMs, hopMs } = this.#options;
    for (const record of records) oracle.sends(record);
    let isOver = false;
    const end = (results: readonly RecordAnswer[] | undefined) => {
      if (isOver) return;
      isOver = true;
      this.#heard(records, results, left);
    };
    scheduler.after(timeoutMs, () => end(undefined));
    const living = apis();
    const rates = weather.of("api");
    if (living.length === 0 || random.chance(rates.lostBefore)) return;
    const { machine, usage } = random.pick(living);
    const answerIsLost = random.chance(rates.lostAfter);
    const hop = () => hopMs * (0.1 + random.unit());
    history.note(
      () => `client: sends ${records.map(identityOf).join(", ")} to ${machine.name}`,
      ...records.map(identityOf),
    );
    scheduler.after(hop(), () =>
      machine.deliver(() => {
        void usage.record(records).then((results) => {
          if (!answerIsLost) scheduler.after(hop(), () => end(results));
        });
      }),
    );
  }

  #heard(records: readonly UsageRecord[], results: readonly RecordAnswer[] | undefined, left: number): void {
    const { scheduler, random, oracle, history, timeoutMs, onAcknowledged } = this.#options;
    const again = records.filter((record, i) => {
      const result = results?.[i];
      if (result === undefined) return true;
      history.note(
        () => `client: ${identityOf(record)} is ${"error" in result ? result.error.failure.kind : result.outcome}`,
        identityOf(record),
      );
      if ("error" in result) return result.error.failure.kind !== "idempotency_key_reused";
      oracle.acknowledges(record);
      onAcknowledged(record, result);
      return false;
    });
    if (again.length === 0 || left <= 1) this.#open -= 1;
    else scheduler.after(timeoutMs * random.unit(), () => this.#attempt(again, left - 1));
  }
}

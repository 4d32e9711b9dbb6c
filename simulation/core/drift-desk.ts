// An operator who decides about drift before the service does, or where it leaves that to him: has it repaired, or writes it off.
import { Random } from "../random.ts";
import type { Timeline } from "./scheduler.ts";
import type { Stores } from "./stores.ts";
import { HOUR_MS, type World } from "./world.ts";

/** Between his looks, on an average. */
const LOOK_MS = 4 * HOUR_MS;

export class DriftDesk {
  readonly #stores: Stores;
  readonly #random: Random;
  readonly #timeline: Timeline;
  readonly #untilMs: number;

  constructor({ seed, endMs }: World, stores: Stores) {
    this.#stores = stores;
    this.#random = new Random(seed, "drift desk");
    this.#timeline = stores.scheduler.beside(new Random(seed, "order of looks at drift"));
    // After invoices are final, too.
    this.#untilMs = endMs + 40 * HOUR_MS;
  }

  start(): void {
    if (this.#random.chance(0.5)) return;
    const timeline = this.#timeline;
    const look = () => {
      this.#decide();
      if (timeline.nowMs < this.#untilMs) timeline.after(this.#random.spread(LOOK_MS / 8, LOOK_MS * 2), look);
    };
    timeline.after(this.#random.unit() * LOOK_MS, look);
  }

  #decide(): void {
    const { reconciliation, history } = this.#stores;
    const open = reconciliation.drifts.filter(({ state }) => state === "open");
    if (open.length === 0) return;
    const drift = this.#random.pick(open);
    const apply = this.#random.pick(["repair", "write_off"] as const);
    history.note(
      () => `operator: wants a drift of ${drift.stripeCustomerId} ${drift.eventName} at ${drift.startMs}: ${apply}`,
    );
    reconciliation.ask(drift, drift.startMs, apply);
  }
}

// Counters of API keys in Redis, as limit-ring.lua and those that follow it keep them. Left out: sums beyond 64 bits, and that hashes expire.
import type { Begun } from "../../../src/app/ports/limits.ts";
import type { WindowCounter } from "../../../src/domain/limit-counters.ts";
import { DAY_PLACES, limitWindowMs, MINUTE_PLACES } from "../../../src/domain/limits.ts";
import type { PlacedCounter } from "../../../src/redis/limit-scripts.ts";

interface Hash {
  readonly generation: string;
  /** Since when it is being seeded; undefined: complete. */
  seedingMs: number | undefined;
  /** After which entry it was begun. */
  readonly lastEntryId: string;
  /** By place. */
  readonly ring: Map<number, PlacedCounter>;
}

/** What counts towards limits of one group commit. */
export interface CountedAppend {
  readonly hashes: readonly string[];
  /** By record. */
  readonly items: ReadonlyMap<number, { readonly hash: string; minute: number; day: number; quantity: bigint }>;
  readonly minute: number;
  readonly day: number;
}

export class LimitHashes {
  #hashes = new Map<string, Hash>();

  count(hash: string, minute: number, day: number, quantity: bigint): void {
    const known = this.#hashes.get(hash);
    if (known === undefined) return;
    add(known, { place: minute % MINUTE_PLACES, number: minute, used: quantity, voided: 0n });
    add(known, { place: MINUTE_PLACES + (day % DAY_PLACES), number: day, used: quantity, voided: 0n });
  }

  /** As append.lua tells it. */
  usage(hash: string, minute: number, day: number): string[] {
    const known = this.#hashes.get(hash);
    const told = (place: number, number: number) => {
      const stands = known?.ring.get(place);
      return stands?.number === number ? [`${stands.used}`, `${stands.voided}`] : ["0", "0"];
    };
    const state = known === undefined ? "" : known.seedingMs === undefined ? "k" : "s";
    return [state, ...told(minute % MINUTE_PLACES, minute), ...told(MINUTE_PLACES + (day % DAY_PLACES), day)];
  }

  begin(hash: string, begun: Omit<Begun, "epoch">, replaced: string, nowMs: number, givenUpMs: number): boolean {
    const { generation, lastEntryId } = begun;
    const known = this.#hashes.get(hash);
    const isGivenUp = known?.seedingMs !== undefined && Math.abs(nowMs - known.seedingMs) >= givenUpMs;
    if (known !== undefined && !isGivenUp && known.generation !== replaced) return false;
    // A repeat: what was counted since the first must stay.
    if (known?.generation === generation) return false;
    this.#hashes.set(hash, { generation, lastEntryId, seedingMs: nowMs, ring: new Map() });
    return true;
  }

  complete(
    hash: string,
    { generation, lastEntryId }: Omit<Begun, "epoch">,
    counters: readonly PlacedCounter[],
  ): boolean {
    const known = this.#hashes.get(hash);
    if (known?.generation !== generation || known.seedingMs === undefined) return false;
    if (known.lastEntryId !== lastEntryId) return false;
    for (const counter of counters) {
      add(known, { ...counter, voided: 0n });
      raise(known, counter);
    }
    known.seedingMs = undefined;
    return true;
  }

  raiseVoided(hash: string, generation: string, counters: readonly PlacedCounter[]): void {
    const known = this.#hashes.get(hash);
    if (known?.generation !== generation || known.seedingMs !== undefined) return;
    for (const counter of counters) raise(known, counter);
  }

  /** Undefined: there is none, or it is being seeded. */
  read(hash: string): { readonly generation: string; readonly counters: readonly WindowCounter[] } | undefined {
    const known = this.#hashes.get(hash);
    if (known === undefined || known.seedingMs !== undefined) return undefined;
    const inOrder = [...known.ring.values()].sort((a, b) => a.place - b.place);
    return {
      generation: known.generation,
      counters: inOrder.map(({ place, number, used, voided }) => {
        const window = place < MINUTE_PLACES ? ("minute" as const) : ("day" as const);
        return { window, windowStartMs: number * limitWindowMs(window), used, voided };
      }),
    };
  }

  delete(hash: string): void {
    this.#hashes.delete(hash);
  }

  clear(): void {
    this.#hashes = new Map();
  }

  /** Sets a hash back to what it is now. */
  memory(hash: string): () => void {
    const known = this.#hashes.get(hash);
    if (known === undefined) return () => this.#hashes.delete(hash);
    const copy = { ...known, ring: new Map(known.ring) };
    return () => this.#hashes.set(hash, copy);
  }
}

function add({ ring }: Hash, counter: PlacedCounter): void {
  const stands = ring.get(counter.place);
  if (stands === undefined || stands.number < counter.number) ring.set(counter.place, counter);
  else if (stands.number === counter.number) ring.set(counter.place, { ...stands, used: stands.used + counter.used });
}

function raise({ ring }: Hash, { place, number, voided }: PlacedCounter): void {
  const stands = ring.get(place);
  if (stands?.number === number && stands.voided < voided) ring.set(place, { ...stands, voided });
}

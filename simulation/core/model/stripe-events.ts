// The inbox of webhook events, as plainly as it can be said: what the statements stripe-event-*.sql do.
import type { ClaimedStripeEvent, StoredStripeEvent } from "../../../src/app/ports/accounts.ts";

interface EventRow extends StoredStripeEvent {
  state: "received" | "applied" | "dead";
  attempts: number;
  nextAttemptMs: number;
  readonly receivedMs: number;
}

export class ModelStripeEvents {
  readonly #nowMs: () => number;
  readonly #rows = new Map<string, EventRow>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get rows(): readonly Readonly<EventRow>[] {
    return [...this.#rows.values()];
  }

  store(event: StoredStripeEvent): boolean {
    if (this.#rows.has(event.eventId)) return false;
    const nowMs = this.#nowMs();
    this.#rows.set(event.eventId, {
      ...event,
      state: "received",
      attempts: 0,
      nextAttemptMs: nowMs,
      receivedMs: nowMs,
    });
    return true;
  }

  claim(types: readonly string[], limit: number, leaseMs: number): readonly ClaimedStripeEvent[] {
    const nowMs = this.#nowMs();
    const due = [...this.#rows.values()]
      .filter(
        ({ state, nextAttemptMs, type }) => state === "received" && nextAttemptMs <= nowMs && types.includes(type),
      )
      .sort((a, b) => a.nextAttemptMs - b.nextAttemptMs)
      .slice(0, limit);
    return due.map((row) => {
      row.attempts += 1;
      row.nextAttemptMs = nowMs + leaseMs;
      const { eventId, type, objectId, createdMs, payload, attempts } = row;
      return { eventId, type, objectId, createdMs, payload, attempts };
    });
  }

  applied(eventId: string): void {
    const row = this.#rows.get(eventId);
    if (row !== undefined) row.state = "applied";
  }

  failed(eventId: string, retryAfterMs: number | undefined): void {
    const row = this.#rows.get(eventId);
    if (row?.state !== "received") return;
    if (retryAfterMs === undefined) row.state = "dead";
    row.nextAttemptMs = this.#nowMs() + (retryAfterMs ?? 0);
  }

  forgetApplied(ageMs: number, limit: number): number {
    const old = this.rows.filter(({ state, receivedMs }) => state === "applied" && receivedMs < this.#nowMs() - ageMs);
    for (const { eventId } of old.slice(0, limit)) this.#rows.delete(eventId);
    return Math.min(old.length, limit);
  }

  /** As an operator does with dead letters. */
  revive(): void {
    for (const row of this.#rows.values()) {
      if (row.state !== "dead") continue;
      row.state = "received";
      row.attempts = 0;
      row.nextAttemptMs = this.#nowMs();
    }
  }
}

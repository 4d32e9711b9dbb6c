// What one customer sees: tokens as they flow, by what, against the period before, and what of it is on the invoice.

import { UsageDimension } from "../../gen/metering/v1/usage_pb.ts";
import type { Api, PageFacts } from "./api.ts";
import { invoiceRows, limitRows } from "./billing-rows.ts";
import { Breakdown } from "./breakdown.ts";
import { element, section, setText, Tile, tiles } from "./dom.ts";
import { change, day, whole, zonedMoment } from "./format.ts";
import { type LinkState, pause, persist, persistInOrder, type Tell } from "./persist.ts";
import { Plot } from "./plot.ts";
import { RATE_SAMPLES_MAX, Rate, SPAN_SAMPLES } from "./rate.ts";
import { KEYS_MAX, readBilling, readComparison, readLimits } from "./readings.ts";
import { Table } from "./table.ts";
import { Totals } from "./totals.ts";

const SAMPLE_MS = 1_000;
const HEARTBEAT_S = 5n;
/** Silent for longer than heartbeats are apart: what flows meanwhile is not known. */
const UNKNOWN_AFTER_MS = 7_000;
const BILLING_EVERY_MS = 5_000;
const COMPARE_EVERY_MS = 60_000;

export class CustomerView {
  readonly root: HTMLElement;
  readonly #customerId: string;
  readonly #api: Api;
  readonly #isToken: (meter: string) => boolean;
  readonly #totals = new Totals();
  readonly #rate = new Rate();
  #heardMs = Number.NEGATIVE_INFINITY;
  readonly #now = new Tile("Tokens per second", "tokens-per-second");
  readonly #period = new Tile("Tokens this period", "tokens-used");
  readonly #before = new Tile("Last period, by this point", "period-before");
  readonly #requests = new Tile("Requests this period", "requests");
  readonly #subscription = new Tile("Subscription", "subscription");
  readonly #plot = new Plot("Tokens per second", (RATE_SAMPLES_MAX * SAMPLE_MS) / 1000);
  readonly #types = new Breakdown(
    "token type",
    ({ meter }) => meter,
    (name) => name.replaceAll("_", " "),
  );
  readonly #models = new Breakdown(
    "model",
    ({ model }) => model,
    (name) => name || "no model",
  );
  readonly #keys = new Breakdown(
    "API key",
    ({ apiKeyId }) => apiKeyId,
    (name) => name || "no key",
  );
  readonly #limits = new Table(
    "Limits",
    ["Limit", "Left", "Starts anew"],
    "No API key that was used in this period has a limit.",
  );
  readonly #invoice = new Table(
    "Invoice",
    ["Stripe meter", "On the invoice", "On its way"],
    "Nothing to bill in this period yet.",
  );
  readonly #span = element("p", { class: "span" });
  readonly #stale = element("p", { class: "stale", role: "status" });

  constructor(api: Api, facts: PageFacts, customerId: string) {
    this.#api = api;
    this.#customerId = customerId;
    const tokenMeters = new Set(facts.tokenMeters);
    this.#isToken = (meter) => tokenMeters.has(meter);
    this.root = element(
      "div",
      { class: "stack" },
      element("div", {}, element("h1", {}, customerId), this.#span, this.#stale),
      tiles(this.#now, this.#period, this.#before, this.#requests, this.#subscription),
      section("Tokens per second", this.#plot.root),
      element(
        "div",
        { class: "columns" },
        section("By token type", this.#types.table.root),
        section("By model", this.#models.table.root),
        section("By API key", this.#keys.table.root),
        section("What is left of each limit", this.#limits.root),
      ),
      section("On the invoice so far", this.#invoice.root),
    );
  }

  /** Until `signal` aborts, or the server refuses. */
  async run(tell: Tell, signal: AbortSignal): Promise<void> {
    const sampling = setInterval(() => this.#sample(), SAMPLE_MS);
    const tellStale = (state: LinkState) =>
      setText(
        this.#stale,
        state.is === "waiting" && this.#isLive() ? "Invoice and limits cannot be read just now; trying again…" : "",
      );
    const unheard = () => {};
    // The stream tells how the link stands. Readings beside it come back by themselves when it does.
    await persistInOrder(
      (tellLink) => persist((attempt, alive) => this.#follow(attempt, alive), tellLink, signal),
      tell,
      () => [
        persist((attempt, alive) => this.#pollBilling(attempt, alive), tellStale, signal),
        persist((attempt, alive) => this.#pollComparison(attempt, alive), unheard, signal),
      ],
    );
    clearInterval(sampling);
  }

  async #follow(signal: AbortSignal, alive: () => void): Promise<void> {
    const request = {
      customerId: this.#customerId,
      groupBy: [UsageDimension.MODEL, UsageDimension.API_KEY],
      // Digits that change oftener nobody can read.
      minUpdateInterval: { nanos: 250_000_000 },
      heartbeatInterval: { seconds: HEARTBEAT_S },
    };
    try {
      for await (const response of this.#api.metering.streamUsage(request, { signal })) {
        // A connection may fall silent and come back: what it brings then was not used in that second.
        if (!this.#isLive()) this.#rate.add(Date.now(), undefined);
        this.#heardMs = Date.now();
        this.#totals.apply(response);
        alive();
        if (response.event.case !== "heartbeat") this.#showTotals();
      }
    } finally {
      this.#heardMs = Number.NEGATIVE_INFINITY;
    }
  }

  #isLive(): boolean {
    return Date.now() - this.#heardMs < UNKNOWN_AFTER_MS;
  }

  #sample(): void {
    if (this.#totals.interval === undefined) return;
    this.#rate.add(Date.now(), this.#isLive() ? this.#totals.sum(this.#isToken) : undefined);
    const now = this.#rate.now;
    this.#now.show(now === undefined ? "–" : whole(now), `over the last ${SPAN_SAMPLES} s`);
    this.#plot.show(this.#rate.points.map(({ atMs, perSecond }) => ({ atMs, value: perSecond })));
  }

  #showTotals(): void {
    const { interval } = this.#totals;
    this.#period.show(whole(this.#totals.sum(this.#isToken)));
    this.#requests.show(whole(this.#totals.sum((meter) => meter === "requests")));
    for (const breakdown of [this.#types, this.#models, this.#keys]) breakdown.show(this.#totals, this.#isToken);
    if (interval?.startTime !== undefined && interval.endTime !== undefined)
      setText(this.#span, `${zonedMoment(interval.startTime)} to ${zonedMoment(interval.endTime)}`);
  }

  async #pollBilling(signal: AbortSignal, alive: () => void): Promise<void> {
    while (!signal.aborted) {
      const billing = await readBilling(this.#api, this.#customerId, signal);
      this.#subscription.show(
        billing.subscriptionStatus || "none known",
        billing.entitled ? "" : "may not consume any more",
        billing.entitled ? "plain" : "bad",
      );
      this.#invoice.show(invoiceRows(billing));
      alive();
      // Which keys there are, the stream says first.
      if (this.#totals.interval !== undefined) {
        const used = this.#totals.split(
          () => true,
          ({ apiKeyId }) => apiKeyId,
        );
        const keys = used.map(({ name }) => name).filter(Boolean);
        this.#limits.show(limitRows(await readLimits(this.#api, this.#customerId, keys.slice(0, KEYS_MAX), signal)));
        alive();
      }
      await pause(this.#totals.interval === undefined ? SAMPLE_MS : BILLING_EVERY_MS, signal);
    }
  }

  async #pollComparison(signal: AbortSignal, alive: () => void): Promise<void> {
    while (!signal.aborted) {
      const { interval, watermark } = this.#totals;
      const isKnown = interval !== undefined && watermark !== undefined;
      if (isKnown) {
        const {
          before,
          soFar,
          whole: all,
        } = await readComparison(this.#api, this.#customerId, interval, watermark, signal);
        const more = change(this.#totals.sum(this.#isToken), soFar);
        const since = `${day(before.startMs)} to ${day(before.endMs)}: ${whole(all)} in all`;
        this.#before.show(whole(soFar), more === undefined ? since : `now ${more}. ${since}`);
      }
      alive();
      // Silence ends an attempt: the wait is cut into parts that say otherwise.
      const until = isKnown ? COMPARE_EVERY_MS : SAMPLE_MS;
      for (let waited = 0; waited < until && !signal.aborted; waited += BILLING_EVERY_MS) {
        await pause(Math.min(until, BILLING_EVERY_MS), signal);
        alive();
      }
    }
  }
}

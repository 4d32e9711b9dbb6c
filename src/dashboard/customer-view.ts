// What one customer sees: tokens as they flow, by what, against the last period, and what of it is on the invoice.

import { UsageDimension } from "../../gen/metering/v1/usage_pb.ts";
import type { Api, PageFacts } from "./api.ts";
import { invoiceRows, limitRows } from "./billing-rows.ts";
import { element, section, setText, Tile, tiles } from "./dom.ts";
import { change, moment, percent, ratio, whole } from "./format.ts";
import { type LinkState, pause, persist } from "./persist.ts";
import { Plot } from "./plot.ts";
import { Rate } from "./rate.ts";
import { type KeyLimits, readBilling, readComparison, readLimits } from "./readings.ts";
import { Table } from "./table.ts";
import { type Share, Totals } from "./totals.ts";

const SAMPLE_MS = 1_000;
const HEARTBEAT_S = 5n;
const BILLING_EVERY_MS = 5_000;
const COMPARE_EVERY_MS = 60_000;

export class CustomerView {
  readonly root: HTMLElement;
  readonly #customerId: string;
  readonly #api: Api;
  readonly #isToken: (meter: string) => boolean;
  readonly #totals = new Totals();
  readonly #rate = new Rate();
  readonly #now = new Tile("Tokens per second", "tokens-per-second");
  readonly #period = new Tile("Tokens this period", "tokens-used");
  readonly #last = new Tile("Last period, to the same point", "last-period");
  readonly #requests = new Tile("Requests this period", "requests");
  readonly #subscription = new Tile("Subscription", "subscription");
  readonly #plot = new Plot("Tokens per second");
  readonly #types = new Table(
    "Usage by token type",
    ["Token type", "Tokens", "Share"],
    "No tokens in this period yet.",
  );
  readonly #models = new Table("Usage by model", ["Model", "Tokens", "Share"], "No tokens in this period yet.");
  readonly #keys = new Table("Usage by API key", ["API key", "Tokens", "Share"], "No tokens in this period yet.");
  readonly #limits = new Table("Limits", ["Limit", "Left", "Allowed", "Starts anew"], "No API key has a limit.");
  readonly #invoice = new Table(
    "Invoice",
    ["Stripe meter", "On the invoice", "On its way"],
    "Nothing to bill in this period yet.",
  );
  readonly #span = element("p", { class: "span" });

  constructor(api: Api, facts: PageFacts, customerId: string) {
    this.#api = api;
    this.#customerId = customerId;
    const tokenMeters = new Set(facts.tokenMeters);
    this.#isToken = (meter) => tokenMeters.has(meter);
    this.root = element(
      "div",
      { class: "stack" },
      element("div", {}, element("h1", {}, customerId), this.#span),
      tiles(this.#now, this.#period, this.#last, this.#requests, this.#subscription),
      section("Tokens per second", this.#plot.root),
      element(
        "div",
        { class: "columns" },
        section("By token type", this.#types.root),
        section("By model", this.#models.root),
        section("By API key", this.#keys.root),
        section("What is left of each limit", this.#limits.root),
      ),
      section("On the invoice so far", this.#invoice.root),
    );
  }

  /** Until `signal` aborts, or the server refuses. */
  async run(tell: (state: LinkState) => void, signal: AbortSignal): Promise<void> {
    const sampling = setInterval(() => this.#sample(), SAMPLE_MS);
    const unheard = () => {};
    // The stream tells how the link stands. Readings beside it come back by themselves when it does.
    await Promise.all([
      persist((attempt, alive) => this.#follow(attempt, alive), tell, signal),
      persist((attempt, alive) => this.#pollBilling(attempt, alive), unheard, signal),
      persist((attempt, alive) => this.#pollComparison(attempt, alive), unheard, signal),
    ]);
    clearInterval(sampling);
  }

  async #follow(signal: AbortSignal, alive: () => void): Promise<void> {
    const request = {
      customerId: this.#customerId,
      groupBy: [UsageDimension.MODEL, UsageDimension.API_KEY],
      heartbeatInterval: { seconds: HEARTBEAT_S },
    };
    for await (const response of this.#api.metering.streamUsage(request, { signal })) {
      alive();
      this.#totals.apply(response);
      if (response.event.case !== "heartbeat") this.#showTotals();
    }
  }

  #sample(): void {
    if (this.#totals.interval === undefined) return;
    this.#rate.add(Date.now(), this.#totals.sum(this.#isToken));
    const now = this.#rate.now;
    this.#now.show(now === undefined ? "–" : whole(now), "over the last 10 s");
    this.#plot.show(this.#rate.points.map(({ atMs, perSecond }) => ({ atMs, value: perSecond })));
  }

  #showTotals(): void {
    const { interval } = this.#totals;
    const all = this.#totals.sum(this.#isToken);
    this.#period.show(whole(all));
    this.#requests.show(whole(this.#totals.sum((meter) => meter === "requests")));
    this.#types.show(
      shares(
        this.#totals.split(this.#isToken, ({ meter }) => meter),
        all,
        (name) => name.replaceAll("_", " "),
      ),
    );
    this.#models.show(
      shares(
        this.#totals.split(this.#isToken, ({ model }) => model),
        all,
        (name) => name || "no model",
      ),
    );
    this.#keys.show(
      shares(
        this.#totals.split(this.#isToken, ({ apiKeyId }) => apiKeyId),
        all,
        (name) => name || "no key",
      ),
    );
    if (interval?.startTime !== undefined && interval.endTime !== undefined)
      setText(this.#span, `${moment(interval.startTime)} to ${moment(interval.endTime)}`);
  }

  async #pollBilling(signal: AbortSignal, alive: () => void): Promise<void> {
    while (!signal.aborted) {
      const keys = this.#totals
        .split(
          () => true,
          ({ apiKeyId }) => apiKeyId,
        )
        .map(({ name }) => name);
      const billing = await readBilling(this.#api, this.#customerId, signal);
      const limits: KeyLimits[] = await readLimits(this.#api, this.#customerId, keys.filter(Boolean), signal);
      alive();
      this.#subscription.show(
        billing.subscriptionStatus || "none known",
        billing.entitled ? "" : "may not consume any more",
        billing.entitled ? "plain" : "bad",
      );
      this.#invoice.show(invoiceRows(billing));
      this.#limits.show(limitRows(limits));
      await pause(BILLING_EVERY_MS, signal);
    }
  }

  async #pollComparison(signal: AbortSignal, alive: () => void): Promise<void> {
    while (!signal.aborted) {
      const { interval } = this.#totals;
      if (interval !== undefined) {
        const { soFar, whole: all } = await readComparison(this.#api, this.#customerId, interval, signal);
        const more = change(this.#totals.sum(this.#isToken), soFar);
        this.#last.show(
          whole(soFar),
          more === undefined ? `${whole(all)} in all` : `now ${more}; ${whole(all)} in all`,
        );
      }
      alive();
      // Silence ends an attempt: the wait is cut into parts that say otherwise.
      const until = interval === undefined ? SAMPLE_MS : COMPARE_EVERY_MS;
      for (let waited = 0; waited < until && !signal.aborted; waited += BILLING_EVERY_MS) {
        await pause(Math.min(until, BILLING_EVERY_MS), signal);
        alive();
      }
    }
  }
}

function shares(split: readonly Share[], all: bigint, nameOf: (name: string) => string) {
  return split.map(({ name, quantity }) => ({
    key: name,
    name: nameOf(name),
    cells: [whole(quantity), percent(quantity, all)],
    share: ratio(quantity, all),
  }));
}

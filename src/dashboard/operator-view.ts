// What whoever is on call sees: how much flows, for whom, where the money is, and who looks after it.

import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { GetOverviewResponse } from "../../gen/metering/admin/v1/operations_service_pb.ts";
import { NamedPeriod } from "../../gen/metering/v1/usage_pb.ts";
import type { Api, PageFacts } from "./api.ts";
import { element, section, Tile, tiles } from "./dom.ts";
import { secondsBetween, span, whole } from "./format.ts";
import { deadlineRows, driftRows, gapRows, heldRows, moneyRows, refusedRows } from "./overview-rows.ts";
import { type LinkState, pause, persist, persistInOrder, type Tell } from "./persist.ts";
import { Plot, type Point } from "./plot.ts";
import { Table } from "./table.ts";
import { Totals } from "./totals.ts";

const OVERVIEW_EVERY_MS = 2_000;
const TIMEOUT_MS = 10_000;
const HEARTBEAT_S = 5n;
const MINUTE_MS = 60_000;
const PLOT_MINUTES = 15;

export class OperatorView {
  readonly root: HTMLElement;
  readonly #api: Api;
  readonly #tokenMeters: readonly string[];
  readonly #totals = new Totals();
  readonly #tokens = new Tile("Tokens, last whole minute", "tokens-per-minute");
  readonly #records = new Tile("Records, last whole minute", "records-per-minute");
  readonly #lag = new Tile("Lag of the ledger", "lag");
  readonly #leader = new Tile("Leader", "leader");
  readonly #held = new Tile("Reports held", "held");
  readonly #plot = new Plot("Tokens per minute", ((PLOT_MINUTES - 1) * MINUTE_MS) / 1000);
  readonly #customers = new Table(
    "Most active customers",
    ["Customer", "Tokens this month"],
    "No customer was active in the last quarter of an hour.",
  );
  readonly #money = new Table("The way of the money", ["Where it is", "How many"], "Nothing yet.");
  readonly #deadlines = new Table("Deadlines", ["Due", "Left", "Waiting", "Too late"], "Nothing is due.");
  readonly #reasons = new Table("Held reports", ["Reason", "Reports", "For example"], "Nothing is held.");
  readonly #drifts = new Table(
    "Drift against Stripe",
    ["Difference", "Spans", "What keeps it"],
    "Stripe's sums are what they should be.",
  );
  readonly #gaps = new Table("Gaps", ["Shard", "Noticed", "Lost up to"], "Nothing acknowledged was lost.");
  readonly #refused = new Table("Records not counted", ["Reason", "Records"], "Every acknowledged record is counted.");

  constructor(api: Api, facts: PageFacts) {
    this.#api = api;
    this.#tokenMeters = facts.tokenMeters;
    this.root = element(
      "div",
      { class: "stack" },
      element("h1", {}, "Operations"),
      tiles(this.#tokens, this.#records, this.#lag, this.#leader, this.#held),
      section("Tokens per minute", this.#plot.root),
      element(
        "div",
        { class: "columns" },
        section("Most active customers", this.#customers.root),
        section("The way of the money", this.#money.root),
        section("Deadlines", this.#deadlines.root),
        section("Held, waiting for a person", this.#reasons.root),
        section("Drift", this.#drifts.root),
        section("Lost or not counted", this.#gaps.root, this.#refused.root),
      ),
    );
  }

  /** Until `signal` aborts, or the server refuses. */
  async run(tell: Tell, signal: AbortSignal): Promise<void> {
    let isOpen = false;
    // Once both run, the overview tells how the link stands; the end of a token either of them may hear of first.
    const tellOpening = (state: LinkState) => {
      if (!isOpen || state.is === "refused") tell(state);
      isOpen ||= state.is === "live";
    };
    await persistInOrder(
      (tellLink) => persist((attempt, alive) => this.#follow(attempt, alive), tellLink, signal),
      tellOpening,
      () => [persist((attempt, alive) => this.#poll(attempt, alive), tell, signal)],
    );
  }

  async #poll(signal: AbortSignal, alive: () => void): Promise<void> {
    while (!signal.aborted) {
      const overview = await this.#api.operations.getOverview({}, { signal, timeoutMs: TIMEOUT_MS });
      alive();
      this.#show(overview);
      await pause(OVERVIEW_EVERY_MS, signal);
    }
  }

  async #follow(signal: AbortSignal, alive: () => void): Promise<void> {
    const request = {
      meters: [...this.#tokenMeters],
      period: NamedPeriod.CURRENT_MONTH,
      heartbeatInterval: { seconds: HEARTBEAT_S },
    };
    for await (const response of this.#api.metering.streamUsage(request, { signal })) {
      alive();
      this.#totals.apply(response);
      const listed = this.#totals.split(
        () => true,
        ({ customerId }) => customerId,
      );
      this.#customers.show(
        listed.map(({ name, quantity }) => ({
          key: name,
          name,
          href: `?customer=${encodeURIComponent(name)}`,
          cells: [whole(quantity)],
        })),
      );
    }
  }

  #show(overview: GetOverviewResponse): void {
    const { readTime, watermarkTime, leader, reports } = overview;
    const points = minutes(overview);
    const last = points.at(-1);
    this.#tokens.show(last === undefined ? "0" : whole(last.tokens));
    this.#records.show(last === undefined ? "0" : whole(last.records));
    this.#plot.show(points.map(({ atMs, tokens }): Point => ({ atMs, value: Number(tokens) })));
    const lag =
      readTime === undefined || watermarkTime === undefined ? undefined : secondsBetween(watermarkTime, readTime);
    if (lag === undefined) this.#lag.show("none", "counted when acknowledged");
    else this.#lag.show(span(Math.max(0, lag)), `${overview.drainWorkers.length} drain`, lag > 60 ? "bad" : "plain");
    if (leader === undefined) this.#leader.show("none", "nobody sends to Stripe", "bad");
    else this.#leader.show(`epoch ${whole(leader.epoch)}`, leader.holder);
    const held = reports?.held ?? 0n;
    this.#held.show(whole(held), held > 0n ? "wait for a person" : "", held > 0n ? "warn" : "plain");
    this.#money.show(moneyRows(overview));
    this.#deadlines.show(deadlineRows(overview));
    this.#reasons.show(heldRows(overview));
    this.#drifts.show(driftRows(overview));
    this.#gaps.show(gapRows(overview));
    this.#refused.show(refusedRows(overview));
  }
}

/** The last whole minutes, those without records as 0. */
function minutes({ readTime, throughput }: GetOverviewResponse) {
  if (readTime === undefined) return [];
  const known = new Map(
    throughput.map((one) => [one.startTime === undefined ? 0 : timestampDate(one.startTime).getTime(), one]),
  );
  const end = Math.floor(timestampDate(readTime).getTime() / MINUTE_MS);
  return Array.from({ length: PLOT_MINUTES }, (_, at) => {
    const atMs = (end - PLOT_MINUTES + at) * MINUTE_MS;
    const { tokens = 0n, records = 0n } = known.get(atMs) ?? {};
    return { atMs, tokens, records };
  });
}

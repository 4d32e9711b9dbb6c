// What readers of a world stand on: a way to the database, chance and order of their own, so that a world without them is the same world.

import type { ReadUsageDependencies } from "../../../src/app/get-usage.ts";
import { OpaqueTokens } from "../../../src/app/opaque-tokens.ts";
import type { UsageReader } from "../../../src/app/ports/ledger.ts";
import { UsageFeeds } from "../../../src/app/usage-feeds.ts";
import { CATALOG } from "../../catalog.ts";
import type { Machine } from "../machine.ts";
import type { ModelUsageReader } from "../model/usage-reader.ts";
import type { Timeline } from "../scheduler.ts";
import type { Wire } from "../wire.ts";
import type { ReadChecks } from "./read-checks.ts";

export interface ReadingStores {
  readonly timeline: Timeline;
  readonly wire: Wire;
  readonly reader: ModelUsageReader;
  readonly tokens: OpaqueTokens;
  readonly checks: ReadChecks;
  pace: ReadingPace;
}

/** How much slower loops that look go, where hours matter, and how long one waits at least. */
export interface ReadingPace {
  readonly stretch: number;
  readonly leastMs: number;
}

export const READING_PACES = {
  minutes: { stretch: 1, leastMs: 0 },
  days: { stretch: 60, leastMs: 12 * 60_000 },
  settling: { stretch: 60, leastMs: 40 * 60_000 },
} as const;

/** What a process reads with. */
export interface ReadingParts {
  readonly dependencies: ReadUsageDependencies;
  readonly feeds: UsageFeeds;
}

/** As production has it: how long a change may go unseen. */
const FEED_LOOK_EVERY_MS = 50;

export const TOKENS = new OpaqueTokens("simulated");

export function readingParts(machine: Machine, stores: ReadingStores, shardCount: number): ReadingParts {
  const { timeline, wire, reader, tokens } = stores;
  const clock = machine.clock((delayMs) => Math.max(delayMs * stores.pace.stretch, stores.pace.leastMs), timeline);
  const call = <T>(read: () => T) => wire.call(machine, read);
  const port: UsageReader = {
    usage: (query) => call(() => reader.usage(query)),
    billing: (...args) => call(() => reader.billing(...args)),
    account: (...args) => call(() => reader.account(...args)),
    cursor: (...args) => call(() => reader.cursor(...args)),
    changes: (known) => call(() => reader.changes(known)),
  };
  const dependencies = { reader: port, tokens, catalog: CATALOG, clock, shardCount };
  return { dependencies, feeds: new UsageFeeds(dependencies, FEED_LOOK_EVERY_MS) };
}

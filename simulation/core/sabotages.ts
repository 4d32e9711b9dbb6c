// Faults put into production's code on purpose, each of which the simulation must find. One that it does not find would be one that it
// could not find in earnest.

import type { Sabotage } from "../sabotaged-copy.ts";

export interface SeededSabotage extends Sabotage {
  /** The first seed that is played, where what it takes is rare; 1 where none is given. */
  readonly from?: number;
}

const SHARD_DRAIN = "src/app/shard-drain.ts";
const REPORT = "src/domain/report.ts";
const RECORDED_UP_TO = "src/app/recorded-up-to.ts";
const TAKING_BACK = "src/domain/taking-back.ts";

export const SABOTAGES: readonly SeededSabotage[] = [
  {
    name: "the drain trims before the commit",
    file: SHARD_DRAIN,
    find: "    const result = await traceApply(tracing, records, about, () => ledger.apply(records, move));",
    replace:
      "    await stream.trim(shard, toEntryId);\n    const result = await traceApply(tracing, records, about, () => ledger.apply(records, move));",
  },
  {
    name: "the cursor passes entries that were not read",
    file: SHARD_DRAIN,
    find: "    const toEntryId = last.entryId;",
    replace: "    const toEntryId = (await stream.state(shard)).lastEntryId;",
  },
  {
    name: "entries of another epoch are taken like any other",
    file: SHARD_DRAIN,
    find: "      if (state.epoch !== at.epoch) return await this.#adopt(at, state);\n      // Else",
    replace: "      // Else",
  },
  {
    name: "entries need not follow one another",
    file: SHARD_DRAIN,
    find: "    if (!follows) return entries.slice(0, i);\n",
    replace: "",
  },
  {
    // As it was until the simulation found it.
    name: "a stream may begin anew within an epoch",
    file: SHARD_DRAIN,
    find: "    const follows = entry.previousEntryId === previous ||",
    replace: "    const follows = entry.previousEntryId === previous || entry.previousEntryId === FIRST_ENTRY_ID ||",
  },
  {
    name: "a stream that came back without its tail is not looked for",
    file: SHARD_DRAIN,
    find: "    if (order < 0 || (order > 0 && isEmpty)) {",
    replace: "    if (order > 0 && isEmpty) {",
  },
  {
    name: "a lost tail is not reported",
    file: SHARD_DRAIN,
    find: "    await ledger.reportLostTail(standing, nowMs);\n",
    replace: "",
  },
  {
    name: "a shard counts as drained while entries wait",
    file: SHARD_DRAIN,
    find: "    const seen = order === 0 ? { ...at, watermarkMs: Math.max(state.nowMs, at.watermarkMs ?? 0) } : at;\n    if (order === 0) onDrained(seen);",
    replace:
      "    const seen = { ...at, watermarkMs: Math.max(state.nowMs, at.watermarkMs ?? 0) };\n    onDrained(seen);",
  },
  {
    name: "the watermark is the drain's own clock",
    file: SHARD_DRAIN,
    find: "    const watermarkMs = Math.max(entryTimeMs(toEntryId), at.watermarkMs ?? 0);",
    replace: "    const watermarkMs = Math.max(this.#options.clock.nowMs(), at.watermarkMs ?? 0);",
  },
  {
    name: "a group commit is answered before it is done",
    file: "src/app/group-commit.ts",
    find: "        const results = await this.#options.commit(items);",
    replace:
      '        void this.#options.commit(items).catch(() => {});\n        const results = items.map(() => ({ outcome: "recorded", position: undefined }) as Out);',
  },
  {
    name: "the fingerprint leaves out the quantities",
    file: "src/domain/usage-record.ts",
    find: "    sent.measurements.map((m) => [m.meter, m.quantity.toString()]),",
    replace: "    sent.measurements.map((m) => m.meter),",
  },
  {
    name: "a rollup keeps the first record of a batch alone",
    file: "src/domain/rollup.ts",
    find: "    sum.quantity += quantity;\n    sum.recordCount += 1n;",
    replace: "    sum.recordCount += 1n;",
  },
  {
    name: "windows are not cut at the start of a period",
    file: "src/domain/window.ts",
    find: "    if (boundary > startMs && boundary <= timeMs) startMs = boundary;\n",
    replace: "",
  },
  {
    name: "a window is planned whole again",
    file: REPORT,
    find: "    const delta = window.total - window.reported;",
    replace: "    const delta = window.total;",
  },
  {
    name: "sequences of a window begin anew with each plan",
    file: REPORT,
    find: "      const sequence = window.nextSequence + i;",
    replace: "      const sequence = i;",
  },
  {
    name: "usage of a closed period is planned into it",
    file: "src/domain/late-usage.ts",
    find: "  if (!window.periodClosed && !tooOld) return",
    replace: "  if (!tooOld) return",
  },
  {
    name: "reports are sent again after Stripe has forgotten them",
    file: REPORT,
    find: "  return firstAttemptMs === undefined || nowMs - firstAttemptMs < RESEND_HORIZON_MS;",
    replace: "  return true;",
  },
  {
    name: "a send of unknown fate counts as not sent",
    file: REPORT,
    find: '      const state = kind === "throttled" ? before : "unknown";',
    replace: '      const state = kind === "throttled" ? before : "planned";',
  },
  {
    name: "a report that is given back counts as never sent",
    file: REPORT,
    find: '  const untouched = before === "planned";\n  return { state: before,',
    replace: '  const untouched = true;\n  return { state: "planned",',
  },
  {
    name: "a duplicate is taken for a refusal",
    file: REPORT,
    find: '    case "accepted":\n    case "duplicate":\n      return',
    replace:
      '    case "duplicate":\n      return { ...ended, state: "held", reason: "duplicate" };\n    case "accepted":\n      return',
  },
  {
    name: "outcomes are not recorded",
    file: "src/app/flush.ts",
    find: "    this.#settling = reports.settle(tenure.grant, result.settled); // 4",
    replace: "    this.#settling = Promise.resolve();",
  },
  {
    name: "a leader goes on when its lease is lost",
    file: "src/app/hold-lease.ts",
    find: "    return !this.#lost.signal.aborted && !this.stopping.aborted && this.#options.clock.monotonicMs() < this.#expiresMs;",
    replace: "    return !this.stopping.aborted;",
  },
  {
    name: "a customer's events are sent side by side",
    file: "src/app/send-round.ts",
    find: '    if (sink.serial || report.kind === "cancel") return',
    replace: '    if (report.kind === "cancel") return',
  },
  {
    name: "a drift is repaired without being booked",
    file: "src/domain/reconcile.ts",
    find: '      kind: "drift",',
    replace: '      kind: "unbilled",',
  },
  {
    name: "Stripe's sums are taken as they are",
    file: "src/domain/reconcile.ts",
    find: '  if (difference === 0n) return { kind: "agree", ...all };',
    replace: '  if (difference <= 0n) return { kind: "agree", ...all };',
  },
  {
    name: "a drift in a minute that two periods share waits for ever",
    file: "src/domain/reconcile.ts",
    find: '  if (hindrance === "boundary" && isInvoiced(view)) return',
    replace: '  if (hindrance === "boundary" && view.nowMs < 0) return',
  },
  {
    name: "what an invoice left out is carried on and not taken out",
    file: "src/domain/invoiced-period.ts",
    find: '    ...values.map((value) => ({ kind: "unbilled", value: -value, timestampMs: period.startMs, late: false }) as const),\n',
    replace: "",
  },
  {
    name: "a stream that is resumed begins where it is, whatever has changed since",
    file: "src/app/watch-usage.ts",
    find: "  if (resumed?.version !== reading.version.toString() || !sameInterval(resumed.interval, reading.interval)) {",
    replace: "  if (resumed === undefined) {",
  },
  {
    name: "a stream shows totals that are new, and not those that grow",
    file: "src/app/watched-totals.ts",
    find: "    return old === undefined || old.quantity !== total.quantity || old.recordCount !== total.recordCount;",
    replace: "    return old === undefined;",
  },
  {
    name: "a stream tells of the watermark before it looks at the totals",
    file: "src/app/watch-usage.ts",
    find: "    const changed = changedTotals(before.totals, next.totals);",
    replace: "    const changed = heartbeatDue ? [] : changedTotals(before.totals, next.totals);",
  },
  {
    name: "who reads what it wrote does not wait for it",
    file: "src/app/get-usage.ts",
    find: '  if (request.consistencyToken !== "") await waitUntilCounted(deps, request, context.signal);\n',
    replace: "",
  },
  {
    name: "a day is read from its quarter-hours as well",
    file: "src/domain/read-plan.ts",
    find: "    if (startMs < firstDayMs) quarterHours.push({ window, startMs, endMs: firstDayMs });",
    replace: "    quarterHours.push({ window, startMs, endMs: firstDayMs + DAY_MS });",
  },
  {
    name: "a void takes nothing back from what waits for Stripe",
    file: "src/domain/rollup.ts",
    find: "    pending: pending.map(({ quantity, ...rest }) => ({ ...rest, quantity: -quantity })),",
    replace: "    pending: [],",
  },
  {
    name: "a void takes back quantities, and still counts the record",
    file: "src/domain/rollup.ts",
    find: "    return { ...rest, quantity: -quantity, recordCount: -recordCount };",
    replace: "    return { ...rest, quantity: -quantity, recordCount: 0n };",
  },
  {
    name: "a repeated void is told as the first one",
    file: "src/app/void-record.ts",
    find: "return { outcome: result.kind, ...result.record };",
    replace: 'return { outcome: "voided", ...result.record };',
  },
  {
    name: "what is taken back of a report that is held is sent",
    file: TAKING_BACK,
    find: "  if (held === undefined || held.quantity <= 0n || delta >= 0n) return",
    replace: "  if (delta !== undefined) return",
  },
  {
    // As it was until the simulation found it.
    name: "what was taken back too late for its invoice is not carried on",
    file: "src/domain/invoiced-period.ts",
    find: "missed < takenBackLate ? takenBackLate : missed;",
    replace: "missed < 0n ? 0n : missed;",
  },
  {
    name: "an invoice is read before its turn has come",
    file: "src/app/apply-billing-events.ts",
    find: "  const { invoice, periods } = await accounts.exclusively(invoiceId, async (writer) => {\n    const invoice = await objects.invoice(invoiceId, signal);",
    replace:
      "  const early = await objects.invoice(invoiceId, signal);\n  const { invoice, periods } = await accounts.exclusively(invoiceId, async (writer) => {\n    const invoice = early;",
  },
  {
    name: "an event counts as applied before it is",
    file: "src/app/apply-stripe-events.ts",
    find: "        await EFFECTS.get(type)?.(this.#deps, event, signal);",
    replace: "        await inbox.applied(eventId);\n        await EFFECTS.get(type)?.(this.#deps, event, signal);",
  },
  {
    name: "an event that could not be applied is given up at once",
    file: "src/app/apply-stripe-events.ts",
    find: "        await this.#fail(event, err, signal);\n        return;",
    replace: '        logger.error({ err }, "given up");',
  },
  {
    name: "a process that is told to stop keeps its lease",
    file: "src/app/hold-lease.ts",
    find: "    await lease.release(grant);\n",
    replace: "",
  },
  {
    name: "a process that is told to stop stays on the list of workers",
    file: "src/app/drain.ts",
    find: "    await this.#leave();",
    replace: "",
  },
  {
    name: "what a round did not send is not given back",
    file: "src/app/send-round.ts",
    find: "        for (const report of batch) settled.push({ report, settlement: giveBack(report.before, report.attempts) });\n",
    replace: "",
  },
  {
    // As it was until the simulation found it.
    name: "a ledger follows a stream when it first drains it",
    file: "src/app/follow-streams.ts",
    find: '    if (epoch !== "") continue;',
    replace: "    if (epoch !== undefined) continue;",
    from: 11_000,
  },
  {
    name: "what is taken back goes to whom the customer is mapped now",
    file: TAKING_BACK,
    find: "  if (delta >= 0n || window.elsewhere.length === 0) return",
    replace: "  if (delta !== undefined) return",
  },
  {
    name: "what waits in the stream is left out when a key is seeded",
    file: RECORDED_UP_TO,
    find: "      for (const record of entry.records) waiting.get(keyId(record))?.push(record);\n",
    replace: "",
  },
  {
    name: "a ledger that has applied more than a key was seeded up to is taken as it is",
    file: RECORDED_UP_TO,
    find: '  if (compareEntryIds(snapshot.cursor, entryId) > 0) return { kind: "ahead" };\n',
    replace:
      '  if (compareEntryIds(snapshot.cursor, entryId) > 0) return { kind: "counted", counters: snapshot.counters };\n',
  },
  {
    name: "a commit's first key is what all its records are told of",
    file: "src/redis/intake.ts",
    find: "usages[counted.keyOfRecord[i] ?? -1];",
    replace: "usages[0];",
  },
  // Of the models, which say what statements and scripts say: that they do, tests of both together hold.
  {
    name: "boundaries are those of whom a Stripe customer is mapped to now",
    file: "simulation/core/model/reconciliation.ts",
    find: "...there.map(({ customerId }) => customerId)]",
    replace: "]",
    from: 61_970,
  },
  {
    name: "a key that a late repeat began again is completed as if it were the first time",
    file: "simulation/core/model/limit-hashes.ts",
    find: "    if (known.lastEntryId !== lastEntryId) return false;\n",
    replace: "",
    from: 15_200,
  },
];

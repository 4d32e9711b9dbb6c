// What an operator sees and does of reports: list, show, retry, hold, write off. Needs no lease: it only touches reports that nobody sends.
import { HELD_OUTCOME_UNKNOWN, MESSAGE_MAX, type PlannedReport, REPORT_STATES } from "../domain/report.ts";
import { mayRetry } from "../domain/report-retry.ts";
import { inTransaction, type Pool } from "./pool.ts";
import { replaceReports } from "./report-retries.ts";
import { sqlFile } from "./sql-file.ts";

const LIST = sqlFile("report-list");
const SHOW = sqlFile("report-show");
const FIND_HELD = sqlFile("report-held-find");
const HOLD_PLANNED = sqlFile("report-hold-planned");
const WRITE_OFF = sqlFile("report-write-off");

/** Of a report's lease_epoch, where no leader wrote it. */
const NO_EPOCH = 0n;

/** As reports are shown: of what is held, what was written off waits for nobody. */
export const SHOWN_STATES = [...REPORT_STATES, "written_off"] as const;
type ShownState = (typeof SHOWN_STATES)[number];

export interface ReportFilter {
  /** Undefined: all. */
  readonly states: readonly ShownState[] | undefined;
  readonly reason: string | undefined;
  readonly customerId: string | undefined;
  /** Late usage only: reported or held outside its own period. */
  readonly lateOnly: boolean;
  /** 1..10,000. */
  readonly limit: number;
  /** Goes on after this report. */
  readonly after: string | undefined;
}

/** A report as it is shown; times are Dates, quantities text. */
export interface ListedReport {
  readonly identifier: string;
  readonly kind: string;
  readonly origin: string | null;
  readonly state: ShownState;
  readonly reason: string;
  readonly message: string;
  readonly customerId: string;
  readonly stripeCustomerId: string;
  readonly eventName: string;
  readonly payload: string;
  readonly windowStart: Date;
  /** Of the event: where the quantity lands. */
  readonly eventTime: Date;
  readonly late: boolean;
  readonly value: string;
  readonly attempts: number;
  readonly firstAttemptAt: Date | null;
  readonly nextAttemptAt: Date;
  readonly plannedAt: Date;
  readonly settledAt: Date | null;
  readonly reconciledAt: Date | null;
  readonly writtenOffAt: Date | null;
  readonly deadlineAt: Date;
  readonly sink: string;
}

/** Newest windows first. */
export async function listReports(pool: Pool, filter: ReportFilter): Promise<readonly ListedReport[]> {
  const { states, reason, customerId, lateOnly, limit, after } = filter;
  const [held, writtenOff] = [states?.includes("held"), states?.includes("written_off")];
  const stored = writtenOff ? states?.concat("held") : states;
  const ofHeld = held === writtenOff ? null : writtenOff;
  const values = [stored ?? null, reason ?? null, customerId ?? null, lateOnly, limit, after ?? null, ofHeld];
  return (await pool.query<ListedReport>(LIST, values)).rows;
}

/** One report and what explains it, as JSON; undefined when there is none. */
export async function showReport(pool: Pool, identifier: string): Promise<object | undefined> {
  const found = await pool.query<{ shown: object }>(SHOW, [identifier]);
  return found.rows[0]?.shown;
}

/** A page of held reports by reason and customer, in the order of their identifiers; those that must not be retried are left out. */
export async function findHeld(
  pool: Pool,
  filter: { readonly reason: string | undefined; readonly customerId: string | undefined },
  after: string,
  limit: number,
): Promise<{ readonly identifiers: readonly string[]; readonly next: string | undefined }> {
  const values = [filter.reason ?? null, filter.customerId ?? null, limit, after];
  const found = await pool.query<{ identifier: string; reason: string }>(FIND_HELD, values);
  const identifiers = found.rows.filter(({ reason }) => mayRetry(reason)).map(({ identifier }) => identifier);
  return { identifiers, next: found.rows.length < limit ? undefined : found.rows.at(-1)?.identifier };
}

/**
 * Retries held reports under identifiers of their own, in one transaction. What is late by now goes into the open period, whatever the
 * policy: an operator asked for it. Reports that are not held, or of unknown outcome, are left out of the result and stay as they are.
 */
export function retryHeld(
  pool: Pool,
  deploymentId: string,
  identifiers: readonly string[],
): Promise<readonly PlannedReport[]> {
  const context = { deploymentId, lateUsage: "current_period" } as const;
  return inTransaction(pool, (client) => replaceReports(client, NO_EPOCH, identifiers, context));
}

/**
 * Writes off held reports: they stay as they are and wait for nobody any more; retrying one by its identifier takes it up again. Returns those
 * that are written off now, by an earlier call too; those of unknown outcome never are: they may have been counted.
 */
export async function writeOff(pool: Pool, identifiers: readonly string[], why: string): Promise<readonly string[]> {
  const values = [identifiers, why, MESSAGE_MAX, HELD_OUTCOME_UNKNOWN];
  const written = await pool.query<{ identifier: string }>(WRITE_OFF, values);
  return written.rows.map((row) => row.identifier);
}

/** Holds reports that were never sent; returns those that are held for an operator now, by an earlier call too. */
export async function holdPlanned(
  pool: Pool,
  identifiers: readonly string[],
  message: string,
): Promise<readonly string[]> {
  const held = await pool.query<{ identifier: string }>(HOLD_PLANNED, [identifiers, message]);
  return held.rows.map((row) => row.identifier);
}

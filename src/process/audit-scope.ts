// Which days of whom `metering verify` and `metering rebuild` go through, and what they say of each.
import { type Command, InvalidArgumentError } from "commander";
import type { AuditScope } from "../app/audit.ts";
import type { AuditLedger } from "../app/ports/audit.ts";
import type { Difference } from "../domain/audit.ts";
import { postgresAudit } from "../postgres/audit.ts";
import { readDeployment } from "../postgres/deployment.ts";
import { withDatabase } from "./command-database.ts";
import { readMeterCatalog } from "./config/meter-catalog.ts";
import { FLUSH_LEASE } from "./flush-role.ts";

export interface ScopeOptions {
  readonly customer?: string;
  readonly from?: number;
  readonly to?: number;
}

/** Before any usage, and after. */
const ALL_TIME = { startMs: Date.UTC(2000, 0), endMs: Date.UTC(2200, 0) };

export function addScope(command: Command): Command {
  return command
    .option("--customer <id>", "only this customer, by the service's id")
    .option("--from <day>", "first day of usage, UTC: 2026-10-01; default: the first", dayOf)
    .option("--to <day>", "end, not included; default: none", dayOf);
}

/** Undefined when the days asked for are none. */
export function scopeOf({ customer, from, to }: ScopeOptions): AuditScope | undefined {
  const interval = { startMs: from ?? ALL_TIME.startMs, endMs: to ?? ALL_TIME.endMs };
  return interval.startMs < interval.endMs ? { customerId: customer, interval } : undefined;
}

export function withAudit(command: string, work: (ledger: AuditLedger) => Promise<void>): Promise<void> {
  return withDatabase(command, async ({ config, pool }) => {
    const { shardCount } = await readDeployment(pool);
    const catalog = readMeterCatalog(config.catalogFile);
    await work(postgresAudit(pool, { catalog, shardCount, leaseName: FLUSH_LEASE }));
  });
}

export function describeDifference(customerId: string, difference: Difference): string {
  const { table, column, windowStartMs, of, expected, found } = difference;
  const row = of === "" ? "all series" : of;
  return `${customerId}  ${iso(windowStartMs)}  ${table}.${column}  ${row}: must be ${expected ?? "absent"}, is ${found ?? "absent"}\n`;
}

export function differenceJson(customerId: string, { windowStartMs, ...difference }: Difference): object {
  return { customerId, windowStart: iso(windowStartMs), ...difference };
}

export function dayName(dayMs: number): string {
  return iso(dayMs).slice(0, 10);
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}

function dayOf(text: string): number {
  const dayMs = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00Z`) : Number.NaN;
  if (Number.isNaN(dayMs)) throw new InvalidArgumentError("It must be a day, UTC: 2026-10-01.");
  return dayMs;
}

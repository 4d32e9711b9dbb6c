// Reconciliation: what is believed of Stripe's sums, and what is done about differences, each customer's meter in one transaction.
import type {
  Comparison,
  ComparisonStep,
  MeteredCustomer,
  ReconcileState,
  Reconciliation,
} from "../app/ports/reconciliation.ts";
import type { DriftExplanation } from "../domain/explain-drift.ts";
import type { Apply, Verdict } from "../domain/reconcile.ts";
import { inFencedTransaction } from "./lease.ts";
import { inTransaction, type Pool } from "./pool.ts";
import { readSpans, spansJson } from "./reconcile-views.ts";
import { carryOut } from "./reconcile-writes.ts";
import { sqlFile } from "./sql-file.ts";

const DUE = sqlFile("reconcile-due");
const CUT_REQUESTS = sqlFile("reconcile-cut-requests");
const LOCK_REPORTS = sqlFile("reconcile-lock-reports");
const ANSWERED = sqlFile("reconcile-answered");
const STATE = sqlFile("reconcile-state");

const BEGIN_READ_ONLY = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/** Reconciliation behind the lease named `leaseName`; `lagMs` is between looks at an open drift. Rejects when Postgres is away. */
export function postgresReconciliation(pool: Pool, leaseName: string, lagMs: number): Reconciliation {
  return {
    async due(sinceMs, onlyAsked, after, limit) {
      const values = [sinceMs, onlyAsked, after?.stripeCustomerId ?? null, after?.eventName ?? null, limit];
      const result = await pool.query<DueRow>(DUE, values);
      return toStep(result.rows, limit);
    },
    async cutRequests(grant) {
      await inFencedTransaction(pool, leaseName, grant, (client) => client.query(CUT_REQUESTS));
    },
    settle(grant, of, readAtMs, readings, decide, freeze) {
      if (readings.length === 0) return Promise.resolve([]);
      return inFencedTransaction(pool, leaseName, grant, async (client) => {
        await client.query(LOCK_REPORTS, [of.stripeCustomerId, of.eventName, spansJson(readings)]);
        const views = await readSpans(client, of, readAtMs, readings);
        const judged = views.map((view) => ({ view, verdict: decide(view) }));
        await carryOut(client, { epoch: grant.epoch, lagMs, of, freeze }, judged);
        return judged.map(({ verdict }) => verdict);
      });
    },
    look(of, readAtMs, readings, decide) {
      if (readings.length === 0) return Promise.resolve<readonly Verdict[]>([]);
      const read = async (client: Parameters<typeof readSpans>[0]) => readSpans(client, of, readAtMs, readings);
      return inTransaction(pool, read, BEGIN_READ_ONLY).then((views) => views.map(decide));
    },
    async answered(grant, of, readAtMs, done, waiting) {
      const dates = (times: readonly number[]) => times.map((ms) => new Date(ms));
      const values = [of.stripeCustomerId, of.eventName, new Date(readAtMs), dates(done), dates(waiting)];
      await inFencedTransaction(pool, leaseName, grant, (client) => client.query(ANSWERED, values));
    },
    async state() {
      const result = await pool.query<{ open_drifts: Partial<ReconcileState["openDrifts"]>; oldest_ms: string }>(STATE);
      const row = result.rows[0];
      const none: Record<DriftExplanation, number> = {
        never_sent: 0,
        unknown: 0,
        refused: 0,
        counted_twice: 0,
        foreign: 0,
      };
      return { openDrifts: { ...none, ...row?.open_drifts }, oldestUnreconciledMs: Number(row?.oldest_ms ?? 0) };
    },
  };
}

interface DueRow {
  stripe_customer_id: string;
  event_name: string;
  /** Null for one of which nothing is due after all. */
  hour: Date | null;
  requested: boolean | null;
  apply: boolean | null;
  write_off: boolean | null;
  now: Date;
  boundaries: Date[];
}

function toStep(rows: readonly DueRow[], limit: number): ComparisonStep {
  const groups = [...Map.groupBy(rows, (row) => JSON.stringify([row.stripe_customer_id, row.event_name])).values()];
  const comparisons = groups.flatMap((group): Comparison[] => {
    const [first] = group;
    const hours = group.flatMap(({ hour, requested, boundaries, ...asked }) => {
      if (hour === null) return [];
      const boundariesMs = boundaries.map((boundary) => boundary.getTime());
      return [{ startMs: hour.getTime(), boundariesMs, requested: requested === true, apply: applyOf(asked) }];
    });
    return first === undefined || hours.length === 0 ? [] : [{ ...identityOf(first), hours }];
  });
  const last = rows.at(-1);
  return {
    comparisons,
    readAtMs: rows[0]?.now.getTime() ?? 0,
    next: last === undefined || groups.length < limit ? undefined : identityOf(last),
  };
}

function applyOf({ apply, write_off }: Pick<DueRow, "apply" | "write_off">): Apply | undefined {
  if (write_off === true) return "write_off";
  return apply === true ? "repair" : undefined;
}

function identityOf(row: { stripe_customer_id: string; event_name: string }): MeteredCustomer {
  return { stripeCustomerId: row.stripe_customer_id, eventName: row.event_name };
}

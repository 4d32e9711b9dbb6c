// `metering status`: where the usage and the money are.
import { Command } from "commander";
import type { Status } from "../../app/ports/status.ts";
import { readStatus } from "../../postgres/status.ts";
import { withDatabase } from "../command-database.ts";
import { describeStores, readStores, type StoresReport } from "../stores-report.ts";

export function buildCommand(): Command {
  return new Command("status")
    .description(
      "Shows who leads, how far the drain has come, what waits for Stripe, what is held and why, what may be lost, what was refused, " +
        "and whether the stores keep what they acknowledge.",
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Settings: DATABASE_URL and, where there is one, REDIS_URL; without DATABASE_URL, the stores of the "metering dev" that runs on METERING_DATA_DIR.
Exit codes: 0 shown, also where Redis does not answer, 1 the database cannot be read, 2 the configuration is wrong.
Example: metering status --json | jq .held`,
    )
    .action((options: { json?: true }) =>
      withDatabase("status", async ({ pool, config }) => {
        const [status, stores] = await Promise.all([readStatus(pool), readStores(pool, config.redisUrl)]);
        process.stdout.write(options.json ? `${JSON.stringify({ ...status, stores })}\n` : describe(status, stores));
      }),
    );
}

function describe(status: Status, stores: StoresReport): string {
  const { pending, reports, stripeEvents } = status;
  const refused = Object.entries(status.refusedRecords).map(([reason, records]) => `${records} ${reason}`);
  const lines = [
    ["intake", `${status.intake ?? "never started"}, ${status.shards} shards`],
    ...describeStores(stores),
    ["usage", throughputLine(status.throughput)],
    ["drain", drainLine(status)],
    ["leader", status.leader === null ? "NONE" : `${status.leader.holder}, epoch ${status.leader.epoch}`],
    [
      "pending",
      `${pending.windows} windows${pending.oldestWindowStart ? `, oldest ${pending.oldestWindowStart}` : ""}`,
    ],
    ["unmapped", unmappedLine(pending)],
    ["unsubscribed", unsubscribedLine(status.unsubscribed)],
    [
      "reports",
      `${reports.planned} planned, ${reports.sending} sending, ${reports.unknown} unknown, ${reports.sent} sent, ${reports.held} held; ${reports.acceptedLastDay} accepted in the last day`,
    ],
    ...status.held.map(({ reason, reports: count, example }) => [
      "  HELD",
      `${count} ${reason}, for example ${example.customerId} ${example.eventName}${example.message && `: ${example.message}`} (${example.identifier})`,
    ]),
    ...status.deadlines.flatMap(deadlineLines),
    ["late", lateLine(status.late)],
    [
      "drift",
      status.drifts.length === 0 ? "none" : `${status.drifts.reduce((sum, { spans }) => sum + spans, 0)} spans`,
    ],
    ...status.drifts.map((drift) => [drift.hindrance === "" ? "  drift" : "  DRIFT", describeDrift(drift)]),
    ["refused", refused.length === 0 ? "none" : refused.join(", ")],
    ["webhooks", `${stripeEvents.waiting} waiting, ${stripeEvents.dead} dead`],
    ["gaps", status.gaps.length === 0 ? "none" : String(status.gaps.length)],
    ...status.gaps.map((gap) => ["  GAP", `shard ${gap.shard}: ${gap.lostFrom ?? "the beginning"} to ${gap.lostTo}`]),
  ];
  return lines.map(([name = "", text = ""]) => `${name.padEnd(14)}${text}\n`).join("");
}

const DEADLINES = {
  invoice: "before invoices are final",
  resend: "while sends of unknown fate may be repeated (23 h)",
  age: "while Stripe takes it (35 days)",
} as const;

/** None where nothing waits. */
function deadlineLines({ kind, tightestInMs, waiting, overdue }: Status["deadlines"][number]): [string, string][] {
  if (tightestInMs === null) return [];
  const late = overdue === 0 ? "" : `, ${overdue} overdue`;
  const text = `${waiting} ${DEADLINES[kind]}: the tightest ${describeDuration(tightestInMs)}${late}`;
  return [[overdue > 0 ? "  OVERDUE" : "due", text]];
}

function describeDuration(ms: number): string {
  const minutes = Math.floor(Math.abs(ms) / 60_000);
  const hours = Math.floor(minutes / 60);
  const text =
    hours >= 48 ? `${Math.floor(hours / 24)} days` : hours > 0 ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
  return ms < 0 ? `${text} ago` : `in ${text}`;
}

function describeDrift({ explanation, hindrance, spans, example }: Status["drifts"][number]): string {
  const { stripeCustomerId, eventName, from, to, difference } = example;
  const left = hindrance === "" ? "" : `, left open (${hindrance})`;
  return `${spans} ${explanation}${left}, the largest ${stripeCustomerId} ${eventName}, ${from} to ${to}: ${difference} at Stripe`;
}

function lateLine({ reports, held, periodsToClose, periodsExceeded }: Status["late"]): string {
  const parts = [`${reports} reports${held === 0 ? "" : `, ${held} of them HELD`}`];
  if (periodsToClose > 0) parts.push(`${periodsToClose} invoices to compare`);
  if (periodsExceeded > 0) parts.push(`${periodsExceeded} invoices BILL MORE than was reported`);
  return parts.join(", ");
}

function unmappedLine({ unmappedCustomers, unmappedExamples }: Status["pending"]): string {
  if (unmappedCustomers === 0) return "none";
  return `${unmappedCustomers} customers without a Stripe customer: ${someOf(unmappedExamples, unmappedCustomers)}`;
}

function unsubscribedLine({ customers, examples }: Status["unsubscribed"]): string {
  if (customers === 0) return "none";
  return `${customers} customers use something and have no subscription: ${someOf(examples, customers)}`;
}

function someOf(examples: readonly string[], all: number): string {
  return `${examples.join(", ")}${all > examples.length ? ", ..." : ""}`;
}

function throughputLine(throughput: Status["throughput"]): string {
  const last = throughput.at(-1);
  if (last === undefined) return "nothing counted in the last quarter of an hour";
  const rate = (count: string) => (Number(count) / 60).toFixed(1);
  return `${rate(last.records)} records/s, ${rate(last.tokens)} tokens/s in the minute of ${last.minute}`;
}

function drainLine({ intake, drainWorkers, watermark, watermarkLagMs }: Status): string {
  if (intake !== "redis") return "not needed";
  const workers = drainWorkers.length === 0 ? "NO WORKER" : `${drainWorkers.length} workers`;
  return `${workers}, watermark ${watermark} (${watermarkLagMs} ms behind)`;
}

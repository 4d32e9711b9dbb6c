// Reports as people read them.
import type { ListedReport } from "../postgres/report-desk.ts";

/** A block a report: what, where it landed, why it waits. */
export function describeReports(reports: readonly ListedReport[], limit: number): string {
  if (reports.length === 0) return "none\n";
  const more = reports.length === limit ? `... and maybe more: --after ${reports.at(-1)?.identifier}\n` : "";
  return reports.map(describeReport).join("") + more;
}

function describeReport(report: ListedReport): string {
  const payload = report.payload === "{}" ? "" : ` ${report.payload}`;
  const lines = [
    `${report.identifier}  ${report.state}${report.reason === "" ? "" : `: ${report.reason}`}${report.kind === "usage" ? "" : ` (${report.kind}${report.origin === null ? "" : ` of ${report.origin}`})`}`,
    `    ${report.value} ${report.eventName}${payload} of ${report.customerId} (${report.stripeCustomerId}), used ${iso(report.windowStart)}`,
  ];
  if (report.late) lines.push(`    late: billed as of ${iso(report.eventTime)}`);
  if (report.message !== "") lines.push(`    ${report.message}`);
  if (report.settledAt === null) lines.push(`    ${report.attempts} attempts, due by ${iso(report.deadlineAt)}`);
  return lines.map((line) => `${line}\n`).join("");
}

function iso(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}

// The alerts: promtool reads them and plays their unit tests; each has an entry in the runbook, and each entry an alert.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { ROOT, requireTool, runTool, type Tool } from "../clients/tools.ts";
import { metricNames, metricNamesIn, OTHERS_METRICS } from "./metric-names.ts";
import { findPromtool } from "./tools.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const FOLDER = join(ROOT, "deploy/prometheus");
const file = parse(readFileSync(join(FOLDER, "alerts.yml"), "utf8")) as { groups: { rules: Rule[] }[] };
const rules = file.groups.flatMap((group) => group.rules);
const tests = readFileSync(join(FOLDER, "alerts.test.yml"), "utf8");
const runbook = readFileSync(join(ROOT, "docs/runbook.md"), "utf8");

let promtool: Tool;
beforeAll(async () => {
  promtool = await findPromtool();
});

test.for(["check", "test"])("promtool %s rules", async (command, context) => {
  const path = join(FOLDER, command === "check" ? "alerts.yml" : "alerts.test.yml");
  const { exitCode, stdout, stderr } = await runTool(requireTool(promtool, context), [command, "rules", path]);
  expect({ exitCode, output: `${stdout}${stderr}` }).toEqual({
    exitCode: 0,
    output: expect.stringContaining("SUCCESS"),
  });
});

test("every alert is played by a unit test", () => {
  expect(rules.length).toBeGreaterThan(30);
  // A state that is expected, or an alert that is.
  const played = (name: string) =>
    tests.includes(`alertname="${name}"`) && new RegExp(`labels:.*alertname="${name}"`).test(tests);
  expect(rules.map(({ alert }) => alert).filter((name) => !played(name))).toEqual([]);
});

test("every alert says how bad it is, what is the matter, and where to read on", () => {
  for (const { alert, labels, annotations } of rules) {
    expect(["critical", "warning"]).toContain(labels["severity"]);
    expect(Object.keys(annotations).sort()).toEqual(["description", "runbook_url", "summary"]);
    expect(annotations["runbook_url"]).toBe(`docs/runbook.md#${alert.toLowerCase()}`);
  }
});

test("the runbook has an entry for every alert, with its severity, and for no other", () => {
  const entries = [...runbook.matchAll(/^### (Metering\w+)\n(critical|warning)\. /gm)];
  const inRunbook = entries.map(([, name, severity]) => `${name} ${severity}`).sort();
  expect(inRunbook).toEqual(rules.map(({ alert, labels }) => `${alert} ${labels["severity"]}`).sort());
  const mentioned = runbook.match(/\bMetering[A-Z]\w+/g) ?? [];
  const names = new Set(rules.map(({ alert }) => alert));
  expect(mentioned.filter((name) => !names.has(name))).toEqual([]);
});

test("alerts stand on metrics that there are", async () => {
  const known = await metricNames();
  const used = rules.flatMap(({ expr }) => metricNamesIn(expr));
  expect(new Set(used).size).toBeGreaterThan(20);
  expect(used.filter((name) => !known.has(name) && !OTHERS_METRICS.has(name))).toEqual([]);
});

// The dashboard: promtool reads its queries, they ask for metrics that there are, and it is laid out so that Grafana shows all of it.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { parse, stringify } from "yaml";
import { ROOT, requireTool, runTool, type Tool } from "../clients/tools.ts";
import { metricNames, metricNamesIn } from "./metric-names.ts";
import { findPromtool } from "./tools.ts";

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly legendFormat: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string }[] };
}

const text = readFileSync(join(ROOT, "deploy/grafana/metering.json"), "utf8");
const dashboard = JSON.parse(text) as Dashboard;
const panels = dashboard.panels.filter(({ type }) => type !== "row");
const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

let promtool: Tool;
beforeAll(async () => {
  promtool = await findPromtool();
});

test("promtool reads every query", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "dashboard-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const rules = expressions.map((expr, i) => ({
    record: `panel:${i}`,
    expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$job", ".+"),
  }));
  const path = join(folder, "queries.yml");
  writeFileSync(path, stringify({ groups: [{ name: "dashboard", rules }] }));
  const { exitCode, stdout, stderr } = await runTool(requireTool(promtool, context), ["check", "rules", path]);
  expect({ exitCode, output: `${stdout}${stderr}` }).toEqual({
    exitCode: 0,
    output: expect.stringContaining(`SUCCESS: ${expressions.length} rules found`),
  });
});

test("it asks for metrics that there are, and of the job that was chosen", async () => {
  const known = await metricNames();
  const used = new Set(expressions.flatMap(metricNamesIn));
  expect([...used].filter((name) => !known.has(name))).toEqual([]);
  expect(expressions.filter((expr) => metricNamesIn(expr).length !== expr.split('{job=~"$job"').length - 1)).toEqual(
    [],
  );
});

test("every panel says what it shows, in which unit, and has a place of its own", () => {
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  const taken = new Map<string, string>();
  for (const { title, gridPos } of dashboard.panels) {
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
    for (let { x } = gridPos; x < gridPos.x + gridPos.w; x++)
      for (let { y } = gridPos; y < gridPos.y + gridPos.h; y++) {
        expect(taken.get(`${x} ${y}`), `${title} lies over`).toBeUndefined();
        taken.set(`${x} ${y}`, title);
      }
  }
  for (const { title, description = "", datasource, fieldConfig, targets = [] } of panels) {
    expect(description.length, title).toBeGreaterThan(10);
    expect(fieldConfig?.defaults.unit, title).toBeTruthy();
    expect(datasource?.uid, title).toBe("$" + "{datasource}");
    expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(Math.max(1, targets.length));
  }
  expect(dashboard.templating.list.map(({ name }) => name)).toEqual(["datasource", "job"]);
});

test("it names alerts that there are", () => {
  const rules = parse(readFileSync(join(ROOT, "deploy/prometheus/alerts.yml"), "utf8")) as {
    groups: { rules: { alert: string }[] }[];
  };
  const names = new Set(rules.groups.flatMap((group) => group.rules.map(({ alert }) => alert)));
  const mentioned = text.match(/\bMetering[A-Z]\w+/g) ?? [];
  expect(mentioned.length).toBeGreaterThan(15);
  expect(mentioned.filter((name) => !names.has(name))).toEqual([]);
});

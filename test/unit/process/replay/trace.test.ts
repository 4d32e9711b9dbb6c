import { expect, test } from "vitest";
import { readTrace, surveyTrace, type TraceRow } from "../../../../src/process/replay/trace.ts";
import { checkSpan } from "../../../../src/process/replay/workload.ts";
import { writeTrace } from "../../../support/trace.ts";

const HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens";
const GOOD = "2023-11-16 18:17:03.9799600,4808,10";

test.each(["\n", "\r\n"])("rows with line ends %j, none after the last", async (end) => {
  const rows: TraceRow[] = [];
  for await (const row of readTrace(writeTrace([HEADER, GOOD, "2023-11-16 18:17:04,0,7"].join(end)))) rows.push(row);
  const timeNs = BigInt(Date.UTC(2023, 10, 16, 18, 17, 3)) * 1_000_000n;
  expect(rows).toEqual([
    { index: 0, timeNs: timeNs + 979_960_000n, inputTokens: 4808n, outputTokens: 10n },
    { index: 1, timeNs: timeNs + 1_000_000_000n, inputTokens: 0n, outputTokens: 7n },
  ]);
});

test("a survey finds the span of rows in any order", async () => {
  const times = ["03.1000000", "01.0000000", "02.9999999"];
  const rows = times.map((seconds) => `2023-11-16 18:17:${seconds},1,1`);
  const { records, earliestNs, latestNs } = await surveyTrace(writeTrace([HEADER, ...rows, ""].join("\n")));
  expect([records, latestNs - earliestNs]).toEqual([3, 2_100_000_000n]);
});

test.each([
  ["no header", GOOD, /line 1: must be the header/],
  ["a field too few", `${HEADER}\r\n${GOOD}\r\n2023-11-16 18:17:04,5`, /line 3: must be YYYY-MM-DD/],
  ["a negative number", `${HEADER}\n2023-11-16 18:17:04,5,-1`, /line 2: must be YYYY-MM-DD/],
  ["a fraction of a token", `${HEADER}\n2023-11-16 18:17:04,5,1.5`, /line 2: must be YYYY-MM-DD/],
  ["an empty line in the middle", `${HEADER}\n${GOOD}\n\n${GOOD}`, /line 3: must be YYYY-MM-DD/],
  ["a day that does not exist", `${HEADER}\n2023-02-30 18:17:04,5,1`, /line 2: names a time that does not exist/],
  ["an hour that does not exist", `${HEADER}\n2023-02-03 25:17:04,5,1`, /line 2: names a time that does not exist/],
  ["too many tokens", `${HEADER}\n2023-11-16 18:17:04,1000000000001,1`, /line 2: has more than 1000000000000 tokens/],
  ["no rows", `${HEADER}\r\n`, /has no rows/],
  ["nothing", "", /has no rows/],
])("a trace with %s", async (_name, content, message) => {
  await expect(surveyTrace(writeTrace(content))).rejects.toThrow(message);
});

test("a trace over more time than can be moved up to now", async () => {
  const file = writeTrace(`${HEADER}\n2023-01-01 00:00:00,1,1\n2023-03-01 00:00:00,1,1`);
  const survey = await surveyTrace(file);
  expect(() => checkSpan(file, survey)).toThrow("covers 59 days");
});

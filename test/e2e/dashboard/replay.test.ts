// A customer's page beside GetUsage, while `metering replay` lets a real trace run through the service.
import { expect, test, vi } from "vitest";
import { describeWithChromium, expectClean, openPage, type WatchedPage } from "../../support/browser.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { expectAllEqual, startReplay } from "../../support/replay.ts";
import { startOfTrace } from "../../support/trace.ts";
import { digits, LIMIT, openScene, PATIENTLY, type Scene } from "./scene.ts";

const RECORDS = 3_000;
/** Slow enough that the page is looked at many times before it is over. */
const RATE = "250";

interface Numbers {
  readonly tokens: bigint;
  readonly requests: bigint;
}

/** Tiles and tables as they stand at one instant. */
async function onScreen({ page }: WatchedPage): Promise<Numbers & { readonly parts: readonly bigint[] }> {
  const texts = await page.evaluate<
    string[][]
  >(`["#tokens-used", "#requests", "Usage by token type", "Usage by model", "Usage by API key"].map((what) =>
    what.startsWith("#")
      ? [document.querySelector(what).textContent]
      : [...document.querySelectorAll("table")]
          .filter((table) => table.caption.textContent === what)
          .flatMap((table) => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent)))`);
  const [tokens = [], requests = [], ...tables] = texts.map((list) => list.map((text) => BigInt(digits(text))));
  const sum = (all: readonly bigint[]) => all.reduce((one, other) => one + other, 0n);
  return { tokens: sum(tokens), requests: sum(requests), parts: tables.map(sum) };
}

async function readUsage({ metering }: Scene, customerId: string): Promise<Numbers> {
  const { tokensUsed, requests } = await metering.getUsage({ customerId });
  return { tokens: tokensUsed, requests };
}

/** Between two readings of GetUsage the screen comes to stand between them, and its parts add up to its whole at every instant. */
async function compareOnce(scene: Scene, watched: WatchedPage, customerId: string): Promise<boolean> {
  const before = await readUsage(scene, customerId);
  const shown = await vi.waitFor(async () => {
    const now = await onScreen(watched);
    expect(now.parts).toEqual([now.tokens, now.tokens, now.tokens]);
    expect(now.tokens).toBeGreaterThanOrEqual(before.tokens);
    expect(now.requests).toBeGreaterThanOrEqual(before.requests);
    return now;
  }, PATIENTLY);
  const after = await readUsage(scene, customerId);
  expect(shown.tokens).toBeLessThanOrEqual(after.tokens);
  expect(shown.requests).toBeLessThanOrEqual(after.requests);
  return before.tokens < after.tokens;
}

describeWithChromium("while a trace runs", () => {
  describeWithRedis("through Redis", () => {
    test("the screen is what GetUsage says, all the time and in the end", LIMIT, async ({ onTestFinished }) => {
      const scene = await openScene(onTestFinished, "open", { intake: "redis" });
      const { service, process } = scene;
      const trace = startOfTrace(RECORDS);
      const operator = await openPage(onTestFinished);
      await operator.page.goto(process.httpUrl);
      const replay = startReplay(service, trace, ["--customers", "1", "--rate", RATE]);
      const link = operator.page.getByRole("table", { name: "Most active customers" }).getByRole("link");
      const customerId = (await link.textContent()) ?? "";
      await link.click();
      await operator.page.getByRole("heading", { name: customerId }).waitFor();
      await vi.waitFor(async () => expect((await onScreen(operator)).tokens).toBeGreaterThan(0n), PATIENTLY);
      let moving = 0;
      let usage = await readUsage(scene, customerId);
      while (replay.isRunning && usage.requests < RECORDS) {
        if (await compareOnce(scene, operator, customerId)) moving += 1;
        usage = await readUsage(scene, customerId);
      }
      expect(moving, "the page was compared while numbers moved").toBeGreaterThan(5);
      await vi.waitFor(async () => {
        const { tokens, requests, parts } = await onScreen(operator);
        const all = BigInt(trace.inputTokens + trace.outputTokens);
        expect([requests, tokens, ...parts]).toEqual([BigInt(RECORDS), all, all, all, all]);
        expect(await readUsage(scene, customerId)).toEqual({ tokens, requests });
      }, PATIENTLY);
      expectClean(operator, process.httpUrl);
      expectAllEqual(await replay.result(), trace, 1, service);
    });
  });
});

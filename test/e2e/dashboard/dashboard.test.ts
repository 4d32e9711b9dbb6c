// The dashboard in real Chromium, on a service of real processes: what it shows is what GetUsage says.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { expect, test, vi } from "vitest";
import { describeWithChromium, expectClean, openPage } from "../../support/browser.ts";
import { digits, expectRows, expectShown, LIMIT, openScene, PATIENTLY, rowsOf, waitUntilLive } from "./scene.ts";

const HOUR_MS = 3_600_000;
const QUARTER_MS = HOUR_MS / 4;
/** Records of older usage are refused. */
const OLDEST_MS = 35 * 24 * HOUR_MS;
const secondsAt = (ms: number) => ({ seconds: BigInt(Math.floor(ms / 1_000)) });

describeWithChromium("a customer's page", () => {
  test("its numbers are those of GetUsage, while they grow and after a restart", LIMIT, async ({ onTestFinished }) => {
    const { process, metering, record } = await openScene(onTestFinished);
    // Beyond what a double holds exactly, summed of what one record may carry.
    await Promise.all(Array.from({ length: 40 }, () => record({ quantity: 999_999_999_999n })));
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${process.httpUrl}/?customer=acme`);
    await expectShown(watched, await metering.getUsage({ customerId: "acme" }));
    for (let n = 0; n < 5; n += 1) {
      await record({ quantity: BigInt(n) + 1n, model: `model-${n}` });
      await expectShown(watched, await metering.getUsage({ customerId: "acme" }));
    }
    await watched.page.getByRole("table", { name: "Usage by model" }).getByText("model-4").waitFor();
    expect(await watched.page.isVisible("#simulated")).toBe(true);
    expectClean(watched, process.httpUrl);

    await process.signal("SIGKILL");
    await watched.page.getByText("Connection lost; trying again…").waitFor();
    await process.start();
    await waitUntilLive(watched);
    await record({ quantity: 123n });
    await expectShown(watched, await metering.getUsage({ customerId: "acme" }));
  });

  test("tokens by type, model and key add up to the whole", LIMIT, async ({ onTestFinished }) => {
    const { process, record } = await openScene(onTestFinished);
    await record({ quantity: 907_199_254_740n, model: "anthropic/claude", apiKeyId: "batch" });
    await record({ quantity: 1_000n, model: "openai/gpt-5", apiKeyId: "key-1" });
    await record({ quantity: 93n, model: "", apiKeyId: "" });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${process.httpUrl}/?customer=acme`);
    await expectRows(watched, "Usage by token type", [
      ["input tokens", "907199255833", "100%"],
      ["output tokens", "21", "0%"],
    ]);
    await expectRows(watched, "Usage by model", [
      ["anthropic/claude", "907199254747"],
      ["openai/gpt-5", "1007"],
      ["no model", "100"],
    ]);
    await expectRows(watched, "Usage by API key", [
      ["batch", "907199254747"],
      ["key-1", "1007"],
      ["no key", "100"],
    ]);
    expectClean(watched, process.httpUrl);
  });

  test("what is left of a key's limits moves as records come, below nothing too", LIMIT, async ({ onTestFinished }) => {
    const { process, keys, metering, record } = await openScene(onTestFinished);
    await keys.createKey({ key: { customerId: "acme", apiKeyId: "key-1", tokensPerDay: 1_000n } });
    const key = { customerId: "acme", apiKeyId: "key-1" };
    await vi.waitFor(async () => expect((await metering.checkLimits(key)).limits).toHaveLength(1), PATIENTLY);
    await record({ quantity: 93n });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${process.httpUrl}/?customer=acme`);
    let before: bigint | undefined;
    // What is left is the service's word: a day may end meanwhile.
    const expectMoved = () =>
      vi.waitFor(async () => {
        const left = (await metering.getUsage(key)).limits[0]?.remaining;
        expect(left).not.toBe(before);
        const [row] = await rowsOf(watched, "Limits");
        expect(row?.slice(0, 2)).toEqual(["key-1, per day", `${left} of\u00a01000`]);
        before = left;
      }, PATIENTLY);
    await expectMoved();
    await record({ quantity: 593n });
    await expectMoved();
    await record({ quantity: 1_393n });
    await expectMoved();
    expect(before).toBeLessThan(0n);
    expectClean(watched, process.httpUrl);
  });

  test("this period stands beside the same point of the one before", LIMIT, async ({ onTestFinished }) => {
    const { process, metering, record } = await openScene(onTestFinished);
    const { interval } = await metering.getUsage({ customerId: "acme" });
    if (interval?.startTime === undefined) throw new Error("a period without a start");
    // Without a subscription: a month of UTC.
    const startMs = timestampMs(interval.startTime);
    const beforeMs = new Date(startMs).setUTCMonth(new Date(startMs).getUTCMonth() - 1);
    const nowMs = Date.now();
    const pointMs = Math.min(startMs, beforeMs + nowMs - startMs);
    const tokensAt = [
      [pointMs - HOUR_MS, 993n],
      [pointMs + HOUR_MS, 93n],
      [startMs - HOUR_MS, 3n],
    ] as const;
    const kept = tokensAt.filter(([ms]) => ms >= beforeMs && ms < startMs && ms > nowMs - OLDEST_MS + HOUR_MS);
    for (const [ms, quantity] of kept) await record({ quantity, eventTime: secondsAt(ms) });
    await record({ quantity: 1_243n });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${process.httpUrl}/?customer=acme`);
    const sum = (untilMs: number) =>
      kept.reduce((all, [ms, quantity]) => (ms < untilMs ? all + quantity + 7n : all), 0n);
    const point = Math.floor(pointMs / QUARTER_MS) * QUARTER_MS;
    await vi.waitFor(async () => {
      expect(digits(await watched.page.textContent("#period-before"))).toBe(String(sum(point)));
    }, PATIENTLY);
    const note = digits(await watched.page.textContent("#period-before + .note"));
    expect(note).toContain(`: ${sum(startMs)} in all`);
    if (sum(point) === 1_000n) expect(note).toContain("now +25%. ");
    expectClean(watched, process.httpUrl);
  });

  test("what Stripe has is on the invoice, the rest on its way", LIMIT, async ({ onTestFinished }) => {
    const { service, process, metering, record } = await openScene(onTestFinished);
    const stripe = (path: string, body: Record<string, string>) =>
      fetch(`${service.simulator.url}/v1/${path}`, {
        method: "POST",
        headers: { authorization: "Bearer sk_test_service", "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams(body),
      }).then(async (answer) => (await answer.json()) as { id: string });
    const { id: customerId } = await stripe("customers", { name: "Ada" });
    await record({ customerId, quantity: 500n });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${process.httpUrl}/?customer=${customerId}`);
    await expectShown(watched, { tokensUsed: 507n, requests: 1n });
    const billing = async () => (await metering.getUsage({ customerId })).billing;
    await vi.waitFor(async () => {
      const { reported = {}, unreported = {} } = (await billing()) ?? {};
      const names = [...new Set([...Object.keys(reported), ...Object.keys(unreported)])].sort();
      const rows = names.map((name) => [name, String(reported[name] ?? 0n), String(unreported[name] ?? 0n)]);
      expect(rows.length).toBeGreaterThan(0);
      expect(await rowsOf(watched, "Invoice")).toEqual(rows);
    }, PATIENTLY);
    expect(await watched.page.textContent("#subscription")).toBe("none known");
    expectClean(watched, process.httpUrl);
  });
});

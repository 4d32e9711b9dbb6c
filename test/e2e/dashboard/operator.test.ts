// The operator's page in real Chromium: every number is the overview's.
import { durationMs } from "@bufbuild/protobuf/wkt";
import { expect, test, vi } from "vitest";
import { describeWithChromium, expectClean, openPage } from "../../support/browser.ts";
import { runCommand } from "../../support/command.ts";
import { describeWithRedis } from "../../support/redis.ts";
import { digits, expectRows, expectShown, LIMIT, openScene, PATIENTLY, rowsOf } from "./scene.ts";

const MINUTE_PATIENTLY = { timeout: 150_000, interval: 200 };

describeWithChromium("the operator's page", () => {
  test("who is active, most first, and where the money is", LIMIT, async ({ onTestFinished }) => {
    const { process, operations, record } = await openScene(onTestFinished);
    for (const [customerId, quantity] of [
      ["acme", 93n],
      ["globex", 9_993n],
      ["hooli", 1n],
    ] as const)
      await record({ customerId, quantity });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(process.httpUrl);
    await expectRows(watched, "Most active customers", [
      ["globex", "10000"],
      ["acme", "100"],
      ["hooli", "8"],
    ]);
    await record({ customerId: "hooli", quantity: 999_999_999_999n });
    await vi.waitFor(async () => {
      expect((await rowsOf(watched, "Most active customers"))[0]).toEqual(["hooli", "1000000000014"]);
    }, PATIENTLY);
    await vi.waitFor(async () => {
      const { pending, reports, leader, webhooksWaiting, webhooksDead } = await operations.getOverview({});
      const money = new Map((await rowsOf(watched, "The way of the money")).map(([name, count]) => [name, count]));
      expect(money.get("Recorded, not yet frozen")).toMatch(new RegExp(`^${pending?.windows}, oldest \\d`));
      expect({
        unknownCustomers: money.get("Customers Stripe does not know"),
        waiting: money.get("Waiting to be sent"),
        sending: money.get("Being sent"),
        unanswered: money.get("Sent, answer unknown"),
        unseen: money.get("Sent, not yet in Stripe's sums"),
        taken: money.get("Taken by Stripe, last 24 h"),
        held: money.get("Held"),
        webhooks: [money.get("Webhooks waiting"), money.get("Webhooks that failed")],
      }).toEqual({
        unknownCustomers: "3",
        waiting: String(reports?.planned),
        sending: String(reports?.sending),
        unanswered: String(reports?.unknown),
        unseen: String(reports?.sent),
        taken: String(reports?.acceptedLastDay),
        held: String(reports?.held),
        webhooks: [String(webhooksWaiting), String(webhooksDead)],
      });
      expect(await watched.page.textContent("#leader")).toBe(`epoch ${leader?.epoch}`);
      expect(await watched.page.textContent("#leader + .note")).toBe(leader?.holder);
      expect(await watched.page.textContent("#lag")).toBe("none");
    }, PATIENTLY);
    await watched.page.getByRole("link", { name: "globex" }).click();
    await expectShown(watched, { tokensUsed: 10_000n, requests: 1n });
    expectClean(watched, process.httpUrl);
  });

  test("what Stripe refused is named, with its reason and for whom", LIMIT, async ({ onTestFinished }) => {
    const { service, process, operations, record } = await openScene(onTestFinished);
    await record({ customerId: "cus_thatStripeNeverMade", quantity: 1n });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(process.httpUrl);
    await vi.waitFor(async () => {
      const { exitCode, stderr } = await runCommand(["flush"], service.environment);
      expect([0, 1], stderr).toContain(exitCode);
      const { held } = await operations.getOverview({});
      expect(held.length).toBeGreaterThan(0);
      const rows = held.map(({ reason, reports, exampleCustomerId, exampleMessage }) => [
        reason.replaceAll("_", " "),
        String(reports),
        `${exampleCustomerId}: ${exampleMessage}`,
      ]);
      expect(await rowsOf(watched, "Held reports")).toEqual(rows);
      expect(await watched.page.textContent("#held")).toBe(
        String(held.reduce((sum, { reports }) => sum + reports, 0n)),
      );
    }, PATIENTLY);
    expectClean(watched, process.httpUrl);
  });

  test("deadlines are told as time left", LIMIT, async ({ onTestFinished }) => {
    const { process, operations, record } = await openScene(onTestFinished);
    await record({ quantity: 1n });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(process.httpUrl);
    await vi.waitFor(async () => {
      const { deadlines } = await operations.getOverview({});
      expect(deadlines.map(({ kind }) => kind)).toEqual(["age"]);
      const [row] = await rowsOf(watched, "Deadlines");
      const [age] = deadlines;
      if (age?.tightest === undefined) throw new Error("nothing is due");
      const days = Math.floor(durationMs(age.tightest) / 86_400_000);
      expect(row).toEqual([
        "While Stripe takes it",
        expect.stringMatching(new RegExp(`^${days} d`)),
        String(age.waiting),
        "0",
      ]);
    }, PATIENTLY);
    expectClean(watched, process.httpUrl);
  });

  describeWithRedis("with Redis intake", () => {
    test("throughput of the last whole minute, and how far the ledger is behind", LIMIT, async ({ onTestFinished }) => {
      const { process, operations, record } = await openScene(onTestFinished, "open", { intake: "redis" });
      const watched = await openPage(onTestFinished);
      await watched.page.goto(process.httpUrl);
      for (let n = 0; n < 20; n += 1) await record({ quantity: 993n });
      await vi.waitFor(async () => {
        const { throughput } = await operations.getOverview({});
        const last = throughput.at(-1);
        expect(last?.records ?? 0n).toBeGreaterThan(0n);
        expect(digits(await watched.page.textContent("#records-per-minute"))).toBe(String(last?.records));
        expect(digits(await watched.page.textContent("#tokens-per-minute"))).toBe(String(last?.tokens));
      }, MINUTE_PATIENTLY);
      expect(await watched.page.textContent("#lag")).toMatch(/^\d+ s$/);
      expect(await watched.page.textContent("#lag + .note")).toBe("1 drain");
      // What is drawn is also a table: the newest minute first.
      await watched.page.getByText("The same as a table").click();
      const [newest] = await rowsOf(watched, "Tokens per minute");
      expect(newest?.[0]).toMatch(/^\d\d:\d\d:00$/);
      expectClean(watched, process.httpUrl);
    });
  });
});

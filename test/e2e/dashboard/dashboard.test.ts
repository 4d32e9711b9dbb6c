// The dashboard in real Chromium, on a service of real processes: what it shows is what GetUsage says.
import { AxeBuilder } from "@axe-core/playwright";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { beforeAll, expect, test, vi } from "vitest";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { describeWithChromium, expectClean, openPage, PATIENCE_MS, type WatchedPage } from "../../support/browser.ts";
import { buildPage } from "../../support/page.ts";
import { startService } from "../../support/service.ts";

const PATIENTLY = { timeout: PATIENCE_MS, interval: 200 };
const LIMIT = { timeout: 240_000 };
type Cleanup = (close: () => Promise<void>) => void;

async function start(onTestFinished: Cleanup) {
  const environment = { METERING_ADMIN_API: "true" };
  const { service, close } = await startService({ intake: "postgres", environment });
  onTestFinished(close);
  const [process] = service.processes;
  if (process === undefined) throw new Error("no process");
  const client = createClient(
    MeteringService,
    createConnectTransport({ baseUrl: process.httpUrl, httpVersion: "1.1" }),
  );
  let sent = 0;
  const record = (quantity: bigint, customerId = "acme", model = "openai/gpt-5") => {
    sent += 1;
    const measurements = [
      { meter: "input_tokens", quantity },
      { meter: "output_tokens", quantity: 7n },
    ];
    return client.recordUsage({
      record: { customerId, idempotencyKey: `k${sent}`, apiKeyId: "key-1", model, measurements },
    });
  };
  return { process, client, record };
}

const digits = (text: string | null) => (text ?? "").replaceAll(",", "");

async function expectShown({ page }: WatchedPage, expected: { tokensUsed: bigint; requests: bigint }): Promise<void> {
  await vi.waitFor(async () => {
    expect(digits(await page.textContent("#tokens-used"))).toBe(String(expected.tokensUsed));
    expect(digits(await page.textContent("#requests"))).toBe(String(expected.requests));
  }, PATIENTLY);
}

async function expectAccessible({ page }: WatchedPage): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)).toEqual([]);
}

const overflow = ({ page }: WatchedPage) =>
  page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");

describeWithChromium("the dashboard", () => {
  beforeAll(buildPage);

  test(
    "a customer's numbers are those of GetUsage, while they grow and after a restart",
    LIMIT,
    async ({ onTestFinished }) => {
      const { process, client, record } = await start(onTestFinished);
      // Beyond what a double holds exactly, summed of what one record may carry.
      await Promise.all(Array.from({ length: 40 }, () => record(999_999_999_999n)));
      const watched = await openPage(onTestFinished);
      await watched.page.goto(`${process.httpUrl}/?customer=acme`);
      await expectShown(watched, await client.getUsage({ customerId: "acme" }));
      for (let n = 0; n < 5; n += 1) {
        await record(BigInt(n) + 1n, "acme", `model-${n}`);
        await expectShown(watched, await client.getUsage({ customerId: "acme" }));
      }
      await watched.page.getByRole("table", { name: "Usage by model" }).getByText("model-4").waitFor();
      expect(await watched.page.isVisible("#simulated")).toBe(true);
      expectClean(watched, process.httpUrl);

      await process.signal("SIGKILL");
      await watched.page.getByText("Connection lost; trying again…").waitFor();
      await process.start();
      await watched.page.getByText("Live", { exact: true }).waitFor();
      await record(123n);
      await expectShown(watched, await client.getUsage({ customerId: "acme" }));
    },
  );

  test("an operator sees who is active and where the money is", LIMIT, async ({ onTestFinished }) => {
    const { process, record } = await start(onTestFinished);
    await record(10n, "globex");
    const watched = await openPage(onTestFinished);
    await watched.page.goto(process.httpUrl);
    await watched.page.getByRole("link", { name: "globex" }).waitFor();
    const money = watched.page.getByRole("table", { name: "The way of the money" });
    await vi.waitFor(async () => {
      const row = money.getByRole("row", { name: "Customers Stripe does not know" });
      expect(await row.getByRole("cell").textContent()).toBe("1");
    }, PATIENTLY);
    await watched.page.getByRole("link", { name: "globex" }).click();
    await expectShown(watched, { tokensUsed: 17n, requests: 1n });
    expectClean(watched, process.httpUrl);
  });

  test("light, dark and narrow: accessible, and nothing to scroll sideways", LIMIT, async ({ onTestFinished }) => {
    const { process, record } = await start(onTestFinished);
    await record(999_999_999_999n);
    for (const colorScheme of ["light", "dark"] as const) {
      const watched = await openPage(onTestFinished, { colorScheme, viewport: { width: 360, height: 740 } });
      for (const path of ["/?customer=acme", "/", "/?customer=nobody"]) {
        await watched.page.goto(process.httpUrl + path);
        await watched.page.getByText("Live", { exact: true }).waitFor();
        await expectAccessible(watched);
        expect(await overflow(watched)).toBe(0);
      }
      expectClean(watched, process.httpUrl);
    }
  });
});

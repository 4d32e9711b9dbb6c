// What was used while the page was cut off is in its totals, and in no second's rate.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test, vi } from "vitest";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { SPAN_SAMPLES } from "../../../src/dashboard/rate.ts";
import { describeWithChromium, openPage } from "../../support/browser.ts";
import { digits, expectShown, LIMIT, openScene, PATIENTLY, rowsOf, waitUntilLive } from "./scene.ts";

const HUGE = 1_000_000_000_000n;

describeWithChromium("a page that was cut off", () => {
  test.for(["SIGKILL", "SIGSTOP"] as const)(
    "by %s comes back without a spike",
    LIMIT,
    async (signal, { onTestFinished }) => {
      const processes = ["api", "api,drain,flush,webhooks"];
      const { service, process, record } = await openScene(onTestFinished, "open", { processes });
      const [, other] = service.processes;
      const metering = createClient(
        MeteringService,
        createConnectTransport({ baseUrl: other?.httpUrl ?? "", httpVersion: "1.1" }),
      );
      await record({ quantity: 93n });
      const watched = await openPage(onTestFinished);
      const { page } = watched;
      await page.goto(`${process.httpUrl}/?customer=acme`);
      await expectShown(watched, { tokensUsed: 100n, requests: 1n });
      const rate = page.locator("#tokens-per-second");
      await vi.waitFor(async () => expect(await rate.textContent()).toBe("0"), PATIENTLY);
      await process.signal(signal);
      // Not known: no number.
      await vi.waitFor(async () => expect(await rate.textContent()).toBe("–"), PATIENTLY);
      await metering.recordUsage({
        record: {
          customerId: "acme",
          idempotencyKey: "meanwhile",
          measurements: [{ meter: "input_tokens", quantity: HUGE }],
        },
      });
      if (signal === "SIGKILL") await process.start();
      else await process.signal("SIGCONT");
      await waitUntilLive(watched);
      await expectShown(watched, { tokensUsed: HUGE + 100n, requests: 2n });
      // As many samples later as the rate looks back, the table of the plot knows of none.
      await page.getByText("The same as a table").click();
      const shownRates = async () =>
        (await rowsOf(watched, "Tokens per second")).map(([, value]) => digits(value ?? ""));
      const seen = new Set<string>();
      await page.exposeFunction("seeRate", (text: string) => seen.add(text));
      let samples = 0;
      await page.exposeFunction("countSample", () => {
        samples += 1;
      });
      await page.evaluate(`{
      const tile = document.querySelector("#tokens-per-second");
      setInterval(() => { seeRate(tile.textContent); countSample(); }, 1_000);
    }`);
      await vi.waitFor(() => expect(samples).toBeGreaterThan(SPAN_SAMPLES + 2), PATIENTLY);
      expect([...seen].filter((text) => text !== "–" && text !== "0")).toEqual([]);
      const rates = await shownRates();
      expect(rates).toContain("0");
      expect(rates.filter((text) => text !== "–" && text !== "0")).toEqual([]);
    },
  );

  test(
    "of what is read beside the stream alone says that this is old, until it is not",
    LIMIT,
    async ({ onTestFinished }) => {
      const { process, record } = await openScene(onTestFinished);
      await record({ quantity: 93n });
      const watched = await openPage(onTestFinished);
      const { page } = watched;
      await page.goto(`${process.httpUrl}/?customer=acme`);
      await expectShown(watched, { tokensUsed: 100n, requests: 1n });
      const words = page.getByText("Invoice and limits cannot be read just now; trying again…");
      expect(await words.count()).toBe(0);
      await page.route("**/GetUsage", (route) => route.abort());
      await words.waitFor();
      await record({ quantity: 93n });
      await expectShown(watched, { tokensUsed: 200n, requests: 2n });
      await page.unroute("**/GetUsage");
      await words.waitFor({ state: "detached" });
      await waitUntilLive(watched);
    },
  );
});

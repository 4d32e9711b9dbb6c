// Whoever reads the pages: by keyboard alone, with a screen reader, in light and dark, on a phone, in another language.
import { AxeBuilder } from "@axe-core/playwright";
import { beforeAll, expect, test, vi } from "vitest";
import { describeWithChromium, expectClean, openPage, type WatchedPage } from "../../support/browser.ts";
import { expectShown, LIMIT, openScene, PATIENTLY, type Scene, waitUntilLive } from "./scene.ts";

const PHONE = { width: 360, height: 740 };

async function expectAccessible({ page }: WatchedPage): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`)).toEqual([]);
}

/** What stands out to the right of the window, and so can be reached by scrolling sideways alone. */
const overflow = ({ page }: WatchedPage) =>
  page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");

/** Keeps every label that a canvas draws, with its place. */
const RECORD_LABELS = `
  globalThis.labels = [];
  const draw = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    const width = this.measureText(text).width;
    globalThis.labels.push({ text, x, y, width });
    if (globalThis.labels.length > 200) globalThis.labels.shift();
    return draw.apply(this, arguments);
  };`;

interface Label {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

/** Presses Tab from the top until nothing new comes, and tells what had the focus. */
async function tabThrough({ page }: WatchedPage): Promise<string[]> {
  const reached: string[] = [];
  await page.evaluate("document.activeElement?.blur()");
  for (let n = 0; n < 60; n += 1) {
    await page.keyboard.press("Tab");
    const name = (await page.evaluate(
      "document.activeElement === document.body ? '' : document.activeElement.tagName + ' ' + (document.activeElement.id || document.activeElement.textContent)",
    )) as string;
    if (name === "" || reached.includes(name)) return reached;
    reached.push(name);
  }
  return reached;
}

describeWithChromium("whoever reads the pages", () => {
  let scene: Scene;
  beforeAll(async () => {
    const closers: (() => Promise<void>)[] = [];
    scene = await openScene((close) => closers.push(close));
    await scene.keys.createKey({
      key: { customerId: "acme", apiKeyId: "key-1", tokensPerMinute: 999_999_999_999n, tokensPerDay: 10n },
    });
    await scene.record({
      quantity: 999_999_999_999n,
      model: "a-provider-of-long-names/and-a-model-of-a-name-that-is-longer-still",
    });
    await scene.record({ quantity: 5n, customerId: `customer-${"x".repeat(100)}` });
    return async () => {
      for (const close of closers.reverse()) await close();
    };
  });

  for (const colorScheme of ["light", "dark"] as const)
    for (const viewport of [PHONE, { width: 1_280, height: 800 }])
      test(
        `${colorScheme}, ${viewport.width} pixels: nothing for axe to find, nothing to scroll sideways`,
        LIMIT,
        async ({ onTestFinished }) => {
          const watched = await openPage(onTestFinished, { colorScheme, viewport });
          const { page } = watched;
          for (const path of ["/?customer=acme", "/", "/?customer=nobody"]) {
            await page.goto(scene.process.httpUrl + path);
            await waitUntilLive(watched);
            if (path === "/?customer=acme") await page.getByText("key-1, per day").waitFor();
            if (path === "/?customer=nobody") await page.getByText("Nothing to bill in this period yet.").waitFor();
            for (const summary of await page.locator("summary").all()) await summary.click();
            await expectAccessible(watched);
            expect(await overflow(watched)).toBe(0);
          }
          await page.goto(`${scene.process.httpUrl}/?customer=${"x".repeat(200)}`);
          await page.getByRole("heading", { name: "That cannot be shown" }).waitFor();
          await expectAccessible(watched);
          expect(await overflow(watched)).toBe(0);
          expectClean(watched, scene.process.httpUrl);
        },
      );

  test("the keyboard alone reaches all that can be worked, and works it", LIMIT, async ({ onTestFinished }) => {
    const watched = await openPage(onTestFinished);
    const { page } = watched;
    await page.goto(scene.process.httpUrl);
    await page.getByRole("link", { name: "acme" }).waitFor();
    const reached = await tabThrough(watched);
    const count = (await page.locator("a, button, input, summary, [tabindex='0']").count()) as number;
    expect(reached).toHaveLength(count);
    await page.getByRole("link", { name: "acme" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "acme" }).waitFor();
    await waitUntilLive(watched);
    await tabThrough(watched);
    await page.locator("summary").focus();
    await page.keyboard.press("Enter");
    await page.getByRole("table", { name: "Tokens per second" }).waitFor();
    // What has the focus shows it.
    expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
    expectClean(watched, scene.process.httpUrl);
  });

  test("the focus and what is opened stay while numbers move", LIMIT, async ({ onTestFinished }) => {
    const watched = await openPage(onTestFinished);
    const { page } = watched;
    await page.goto(scene.process.httpUrl);
    const link = page.getByRole("link", { name: "acme" });
    await link.focus();
    const rows = page.getByRole("table", { name: "Most active customers" }).getByRole("row");
    await scene.record({ quantity: 1n, customerId: "globex" });
    await vi.waitFor(async () => expect(await rows.count()).toBe(4), PATIENTLY);
    expect(await link.evaluate((at) => at === at.ownerDocument.activeElement)).toBe(true);
  });

  test("times are of 24 hours, and labels leave each other room, on a phone too", LIMIT, async ({ onTestFinished }) => {
    for (const [locale, viewport] of [
      ["en-US", PHONE],
      ["de-DE", { width: 1_280, height: 800 }],
    ] as const) {
      const watched = await openPage(onTestFinished, { locale, viewport, timezoneId: "Asia/Kathmandu" });
      await watched.page.addInitScript(RECORD_LABELS);
      await watched.page.goto(`${scene.process.httpUrl}/?customer=acme`);
      await waitUntilLive(watched);
      await vi.waitFor(async () => {
        const labels = (await watched.page.evaluate("labels")) as Label[];
        const y = Math.max(...labels.map((label) => label.y));
        // Of the last drawing: they go from left to right.
        const drawn: Label[] = [];
        for (const label of labels.filter((one) => one.y === y).reverse()) {
          const next = drawn[0];
          if (next !== undefined && label.x >= next.x) break;
          drawn.unshift(label);
        }
        expect(drawn.length).toBeGreaterThan(0);
        expect(drawn.filter(({ text }) => !/^\d\d:\d\d(:\d\d)?$/.test(text))).toEqual([]);
        for (const [at, label] of drawn.entries()) {
          const next = drawn[at + 1];
          if (next !== undefined) expect(next.x - label.x).toBeGreaterThan((next.width + label.width) / 2 + 4);
        }
      }, PATIENTLY);
      const span = (await watched.page.textContent(".span")) ?? "";
      expect(span).toMatch(/GMT\+5:45|\+0545/);
      expect(span).not.toMatch(/[AP]M\b/);
    }
  });

  test("another language writes the same numbers in its own way", LIMIT, async ({ onTestFinished }) => {
    const watched = await openPage(onTestFinished, { locale: "de-DE" });
    await watched.page.goto(`${scene.process.httpUrl}/?customer=acme`);
    await vi.waitFor(
      async () => expect(await watched.page.textContent("#tokens-used")).toBe("1.000.000.000.006"),
      PATIENTLY,
    );
    const english = await openPage(onTestFinished);
    await english.page.goto(`${scene.process.httpUrl}/?customer=acme`);
    await expectShown(english, { tokensUsed: 1_000_000_000_006n, requests: 1n });
  });
});

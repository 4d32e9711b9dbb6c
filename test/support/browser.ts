// Real Chromium, headless, and pages that remember whatever went wrong in them.
import { spawnSync } from "node:child_process";
import { type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { describe, expect } from "vitest";

const HAS_CHROMIUM = spawnSync("chromium", ["--version"]).status === 0;
const isCi = process.env["CI"] === "true";

/** Under CI the tests run or fail; elsewhere they need Chromium on the PATH. */
export const describeWithChromium = describe.skipIf(!HAS_CHROMIUM && !isCi);

/** Nothing that Chromium does by itself reaches out of the machine. */
const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** For whatever a page is waited for: machines are slow at times. */
export const PATIENCE_MS = 60_000;

export interface WatchedPage {
  readonly page: Page;
  /** Errors on the console and in scripts, policy violations among them. */
  readonly complaints: readonly string[];
  /** Everything asked for, as URLs. */
  readonly requests: readonly string[];
}

/** A page in a browser of its own, which ends with the test. */
export async function openPage(
  onTestFinished: (close: () => Promise<void>) => void,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const found = spawnSync("which", ["chromium"], { encoding: "utf8" }).stdout.trim();
  const browser = await chromium.launch({
    executablePath: found || "/usr/bin/chromium",
    args: ARGS,
    timeout: PATIENCE_MS,
  });
  onTestFinished(() => browser.close());
  const context = await browser.newContext({ locale: "en-US", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => requests.push(request.url()));
  return { page, complaints, requests };
}

/** No error, no warning, and nothing from another origin. */
export function expectClean({ complaints, requests }: WatchedPage, origin: string): void {
  expect(complaints).toEqual([]);
  expect(requests.filter((url) => new URL(url).origin !== origin)).toEqual([]);
}

// A customer's link: what it opens, what becomes of the token in it, and what is said where it opens nothing.
import { beforeAll, expect, test } from "vitest";
import { Scope } from "../../../gen/metering/admin/v1/token_service_pb.ts";
import { readDeployment } from "../../../src/postgres/deployment.ts";
import { openPool } from "../../../src/postgres/pool.ts";
import { SYSTEM_CLOCK } from "../../../src/process/system-clock.ts";
import { DashboardTokens } from "../../../src/rpc/dashboard-tokens.ts";
import { describeWithChromium, expectClean, openPage, type WatchedPage } from "../../support/browser.ts";
import { expectShown, LIMIT, openScene, type Scene, waitUntilLive } from "./scene.ts";

const MINUTES_10 = { seconds: 600n };

/** As a backend makes it: only the token is asked for, the address is known. */
async function linkOf({ process, tokens }: Scene, customerId?: string): Promise<{ link: string; token: string }> {
  const subject =
    customerId === undefined
      ? ({ case: "allCustomers", value: true } as const)
      : ({ case: "customerId", value: customerId } as const);
  const { token } = await tokens.createDashboardToken({ subject, ttl: MINUTES_10 });
  return { link: `${process.httpUrl}/#token=${token}`, token };
}

/** Signed as the service signs, to end when the test wants it: the service itself makes none that ends within a minute. */
async function tokenThatEnds({ service }: Scene, inMs: number): Promise<string> {
  const pool = openPool({
    connectionString: service.environment["DATABASE_URL"] ?? "",
    applicationName: "test",
    maxConnections: 1,
    statementTimeoutMs: 10_000,
    onIdleError: () => {},
  });
  try {
    const signer = new DashboardTokens(await readDeployment(pool), SYSTEM_CLOCK);
    return (await signer.create({ customerId: "acme" }, inMs)).token;
  } finally {
    await pool.end();
  }
}

/** Everywhere that a browser keeps what it has seen, but the tab itself. */
async function keptBy({ page }: WatchedPage): Promise<string> {
  const session = await page.context().newCDPSession(page);
  const { entries } = await session.send("Page.getNavigationHistory");
  // Where one gets by going back; not what was typed, which the tab remembers of itself.
  const visited = entries.map(({ url, title }) => [url, title]);
  const cookies = await page.context().cookies();
  const stored = await page.evaluate("JSON.stringify([{ ...localStorage }, document.referrer, document.title, name])");
  return JSON.stringify([visited, page.url(), cookies, stored, await page.content()]);
}

const saying = ({ page }: WatchedPage, title: string, text: string) =>
  Promise.all([page.getByRole("heading", { name: title }).waitFor(), page.getByText(text).waitFor()]);

describeWithChromium("a link with a token", () => {
  let scene: Scene;
  const closers: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    scene = await openScene((close) => closers.push(close), "closed");
    await scene.record({ quantity: 100n });
    await scene.record({ quantity: 200n, customerId: "globex" });
    return async () => {
      for (const close of closers.reverse()) await close();
    };
  });

  test("opens its customer's page, and the token stays in the tab alone", LIMIT, async ({ onTestFinished }) => {
    const { process, record } = scene;
    const { link, token } = await linkOf(scene, "acme");
    const watched = await openPage(onTestFinished);
    const { page } = watched;
    const referrers: string[] = [];
    page.on("request", (request) => referrers.push(request.headers()["referer"] ?? ""));
    await page.goto("about:blank");
    await page.goto(link);
    await expectShown(watched, { tokensUsed: 107n, requests: 1n });
    expect(page.url()).toBe(`${process.httpUrl}/`);
    const signature = token.slice(token.lastIndexOf(".") + 1);
    expect(await keptBy(watched)).not.toContain(signature);
    expect([...watched.requests.slice(1), ...referrers].filter((text) => text.includes(signature))).toEqual([]);
    // A copied address, in another tab, opens nothing; a new look at this one does.
    const other = await page.context().newPage();
    await other.goto(page.url());
    await other.getByText("This page needs a link with a token in it.").waitFor();
    await other.close();
    await page.reload();
    await waitUntilLive(watched);
    await page.goBack();
    await page.goForward();
    await waitUntilLive(watched);
    expect(page.url()).toBe(`${process.httpUrl}/`);
    await record({ customerId: "globex", quantity: 1n });
    await page.getByRole("link", { name: "metering" }).click();
    await expectShown(watched, { tokensUsed: 107n, requests: 1n });
    expectClean(watched, process.httpUrl);
    expect((await fetch(page.url())).headers.get("content-security-policy")).toContain("default-src 'none'");
    // At the level "trace", whatever the service logs at all.
    expect(process.log).toContain("StreamUsage");
    expect(process.log).not.toContain(signature);
  });

  test("pasted over an open page takes its place", LIMIT, async ({ onTestFinished }) => {
    const watched = await openPage(onTestFinished);
    await watched.page.goto((await linkOf(scene, "acme")).link);
    await watched.page.getByRole("heading", { name: "acme" }).waitFor();
    const { link, token } = await linkOf(scene, "globex");
    await watched.page.goto(link);
    await watched.page.getByRole("heading", { name: "globex" }).waitFor();
    await waitUntilLive(watched);
    expect(await keptBy(watched)).not.toContain(token.slice(token.lastIndexOf(".") + 1));
    expectClean(watched, scene.process.httpUrl);
  });

  test("an operator's opens all, and leads to each customer", LIMIT, async ({ onTestFinished }) => {
    const watched = await openPage(onTestFinished);
    await watched.page.goto((await linkOf(scene)).link);
    await watched.page.getByRole("link", { name: "acme" }).click();
    await expectShown(watched, { tokensUsed: 107n, requests: 1n });
    expectClean(watched, scene.process.httpUrl);
  });

  test(
    "where there is none, or none that is good, it says so and asks for another",
    LIMIT,
    async ({ onTestFinished }) => {
      const { token } = await linkOf(scene, "acme");
      const [head = "", claims = "", signature = ""] = token.split(".");
      const cases = [
        ["", "This page needs a link with a token in it.", "A link is needed"],
        ["#token=", "The link this page was opened with is no longer valid."],
        ["#token=nonsense", "The link this page was opened with is no longer valid."],
        [`#token=${await tokenThatEnds(scene, -5_000)}`, "The link this page was opened with is no longer valid."],
        [
          `#token=${head}.${claims}.${signature.toLowerCase()}`,
          "The link this page was opened with is no longer valid.",
        ],
      ] as const;
      for (const [fragment, text, title = "Please open a new link"] of cases) {
        const watched = await openPage(onTestFinished);
        await watched.page.goto(`${scene.process.httpUrl}/?customer=acme${fragment}`);
        await saying(watched, title, text);
        await watched.page.getByText("Not connected").waitFor();
        expect(await watched.page.getByRole("heading", { name: "acme" }).count()).toBe(0);
        expectClean(watched, scene.process.httpUrl);
      }
    },
  );

  test("another's page stays shut, whether there is such a customer or not", LIMIT, async ({ onTestFinished }) => {
    const watched = await openPage(onTestFinished);
    const { token } = await linkOf(scene, "acme");
    for (const customerId of ["globex", "nobody"]) {
      await watched.page.goto("about:blank");
      await watched.page.goto(`${scene.process.httpUrl}/?customer=${customerId}#token=${token}`);
      await saying(watched, "Not yours to see", `This link does not open the usage of ${customerId}.`);
    }
    expectClean(watched, scene.process.httpUrl);
  });

  test("the operator's page is shut to a customer's access token", LIMIT, async ({ onTestFinished }) => {
    const { secret } = await scene.tokens.createToken({
      token: { name: "page", scopes: [Scope.READ], customerIds: ["acme"] },
    });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${scene.process.httpUrl}/#token=${secret}`);
    await saying(watched, "Whose usage?", "All customers at once are for operators.");
    await watched.page.getByLabel("Customer").fill("acme");
    await watched.page.keyboard.press("Enter");
    await expectShown(watched, { tokensUsed: 107n, requests: 1n });
    expectClean(watched, scene.process.httpUrl);
  });

  test("that ends while it is looked at takes the numbers away", LIMIT, async ({ onTestFinished }) => {
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${scene.process.httpUrl}/#token=${await tokenThatEnds(scene, 20_000)}`);
    await expectShown(watched, { tokensUsed: 107n, requests: 1n });
    await saying(watched, "Please open a new link", "The link this page was opened with is no longer valid.");
    expect(await watched.page.locator("#tokens-used").count()).toBe(0);
    await watched.page.reload();
    await saying(watched, "Please open a new link", "The link this page was opened with is no longer valid.");
    expect(watched.complaints.filter((text) => !text.includes("status of 401"))).toEqual([]);
  });

  test("that is revoked while it is looked at takes the numbers away", LIMIT, async ({ onTestFinished }) => {
    const { token, secret } = await scene.tokens.createToken({
      token: { name: "page", scopes: [Scope.READ], customerIds: ["acme"] },
    });
    const watched = await openPage(onTestFinished);
    await watched.page.goto(`${scene.process.httpUrl}/?customer=acme#token=${secret}`);
    await expectShown(watched, { tokensUsed: 107n, requests: 1n });
    await scene.tokens.revokeToken({ tokenId: token?.tokenId ?? "" });
    await saying(watched, "Please open a new link", "The link this page was opened with is no longer valid.");
    expect(await watched.page.locator("#tokens-used").count()).toBe(0);
    expect(watched.complaints.filter((text) => !text.includes("status of 401"))).toEqual([]);
  });
});

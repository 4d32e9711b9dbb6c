// Links to dashboards that are ended before their time.
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningService, startService } from "../../support/service.ts";
import { bearer, connectClient, eventually, makeToken, metering, post } from "./calls.ts";

const CREATE = "metering.admin.v1.TokenService/CreateDashboardToken";
const REVOKE = "metering.admin.v1.TokenService/RevokeDashboardTokens";

let running: RunningService;
beforeAll(async () => {
  running = await startService({ intake: "postgres", processes: ["api"], environment: { METERING_AUTH: "tokens" } });
}, 120_000);
afterAll(() => running.close());

async function pageOf(...whose: string[]): Promise<string> {
  return (await metering(running.service, "tokens", "dashboard", ...whose))["token"] ?? "";
}

async function read(token: string, customerId: string): Promise<number> {
  return (await post(running.service, "GetUsage", { customerId }, bearer(token))).status;
}

test("the links of one customer end, and the stream that one holds; others go on; a new link opens the page", {
  timeout: 120_000,
}, async () => {
  const [acme, globex, operator] = [
    await pageOf("--customer", "acme"),
    await pageOf("--customer", "globex"),
    await pageOf("--all-customers"),
  ];
  const events = connectClient(running.service, acme).streamUsage({ customerId: "acme" })[Symbol.asyncIterator]();
  await events.next();
  const { notBefore = "" } = await metering(running.service, "tokens", "revoke-dashboard", "--customer", "acme");
  const readOn = async () => {
    for (let next = await events.next(); next.done !== true; next = await events.next());
  };
  const end: unknown = await readOn().catch((cause: unknown) => cause);
  expect(end instanceof ConnectError && end.code).toBe(Code.Unauthenticated);
  expect(await read(acme, "acme")).toBe(401);
  expect(await read(globex, "globex")).toBe(200);
  expect(await read(operator, "acme")).toBe(200);
  await eventually(async () => {
    if (Date.now() < Date.parse(notBefore) + 1_000) throw new Error("not yet");
  });
  expect(await read(await pageOf("--customer", "acme"), "acme")).toBe(200);

  await metering(running.service, "tokens", "revoke-dashboard", "--all-customers");
  await eventually(async () => {
    expect([await read(globex, "globex"), await read(operator, "acme")]).toEqual([401, 401]);
  });
});

test("a backend ends its customer's links, here at once; what names nobody is refused and ends none", {
  timeout: 120_000,
}, async () => {
  const backend = bearer((await makeToken(running.service, "read,admin", "--all-customers")).secret);
  const make = async (customerId: string) =>
    String((await post(running.service, CREATE, { customerId }, backend)).body["token"]);
  let [initech, hooli] = ["", ""];
  // Those that follow everybody's revocation too closely end with it.
  await eventually(async () => {
    [initech, hooli] = [await make("initech"), await make("hooli")];
    expect([await read(initech, "initech"), await read(hooli, "hooli")]).toEqual([200, 200]);
  });
  for (const request of [{}, { customerId: "" }, { allCustomers: false }])
    expect(await post(running.service, REVOKE, request, backend)).toMatchObject({ status: 400 });
  expect([await read(initech, "initech"), await read(hooli, "hooli")]).toEqual([200, 200]);

  const { status, body } = await post(running.service, REVOKE, { customerId: "initech" }, backend);
  expect(status).toBe(200);
  expect(Date.parse(String(body["notBeforeTime"]))).toBeGreaterThan(Date.now());
  expect([await read(initech, "initech"), await read(hooli, "hooli")]).toEqual([401, 200]);

  expect(await post(running.service, REVOKE, { allCustomers: true }, backend)).toMatchObject({ status: 200 });
  expect(await read(hooli, "hooli")).toBe(401);
});

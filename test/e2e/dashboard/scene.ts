// A service of real processes, and what tests of its pages do to it and read off them.
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, vi } from "vitest";
import { KeyService } from "../../../gen/metering/admin/v1/key_service_pb.ts";
import { OperationsService } from "../../../gen/metering/admin/v1/operations_service_pb.ts";
import { TokenService } from "../../../gen/metering/admin/v1/token_service_pb.ts";
import { MeteringService } from "../../../gen/metering/v1/metering_service_pb.ts";
import { PATIENCE_MS, type WatchedPage } from "../../support/browser.ts";
import { runCommand } from "../../support/command.ts";
import { type Service, type ServiceOptions, type ServiceProcess, startService } from "../../support/service.ts";

export const PATIENTLY = { timeout: PATIENCE_MS, interval: 200 };
/** Of one test: a browser and a service are started in it, on a machine that does other things too. */
export const LIMIT = { timeout: 240_000 };
export type Cleanup = (close: () => Promise<void>) => void;

export interface Usage {
  readonly quantity?: bigint;
  readonly customerId?: string;
  readonly model?: string;
  readonly apiKeyId?: string;
  readonly eventTime?: { readonly seconds: bigint };
}

export interface Scene {
  readonly service: Service;
  readonly process: ServiceProcess;
  readonly metering: ReturnType<typeof clientsOf>["metering"];
  readonly operations: ReturnType<typeof clientsOf>["operations"];
  readonly keys: ReturnType<typeof clientsOf>["keys"];
  readonly tokens: ReturnType<typeof clientsOf>["tokens"];
  /** One record of `quantity` input tokens and 7 output tokens; acme's, and now, unless said otherwise. */
  record(usage?: Usage): Promise<unknown>;
}

function clientsOf(baseUrl: string, secret: string | undefined) {
  const authorize: Interceptor = (next) => (request) => {
    if (secret !== undefined) request.header.set("authorization", `Bearer ${secret}`);
    return next(request);
  };
  const transport = createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors: [authorize] });
  return {
    metering: createClient(MeteringService, transport),
    operations: createClient(OperationsService, transport),
    keys: createClient(KeyService, transport),
    tokens: createClient(TokenService, transport),
  };
}

/** Open to everybody, or closed: then the scene's own clients show a token with every scope. */
export async function openScene(
  onTestFinished: Cleanup,
  access: "open" | "closed" = "open",
  options: Partial<ServiceOptions> = {},
): Promise<Scene> {
  const environment: Record<string, string> =
    access === "open" ? { METERING_ADMIN_API: "true" } : { METERING_AUTH: "tokens", METERING_LOG_LEVEL: "trace" };
  const { service, close } = await startService({ intake: "postgres", environment, ...options });
  onTestFinished(close);
  const process = service.api;
  const clients = clientsOf(process.httpUrl, access === "open" ? undefined : await createSecret(service));
  let sent = 0;
  const record = ({
    quantity = 0n,
    customerId = "acme",
    model = "openai/gpt-5",
    apiKeyId = "key-1",
    eventTime,
  }: Usage = {}) => {
    sent += 1;
    const measurements = [
      { meter: "input_tokens", quantity },
      { meter: "output_tokens", quantity: 7n },
    ];
    const when = eventTime === undefined ? {} : { eventTime };
    return clients.metering.recordUsage({
      record: { customerId, idempotencyKey: `k${sent}`, apiKeyId, model, measurements, ...when },
    });
  };
  // A new token is known a moment later.
  await vi.waitFor(() => clients.operations.getOverview({}), PATIENTLY);
  return { service, process, ...clients, record };
}

/** A token with every scope, for all customers. */
async function createSecret({ environment }: Service): Promise<string> {
  const args = ["tokens", "create", "scene", "--scopes", "record,read,admin", "--all-customers", "--json"];
  const { exitCode, stdout, stderr } = await runCommand(args, environment);
  if (exitCode !== 0) throw new Error(stderr);
  return (JSON.parse(stdout) as { secret: string }).secret;
}

/** A number as the page writes it in English, back as a program does. */
export const digits = (text: string | null): string => (text ?? "").replaceAll(/(?<=\d),(?=\d{3})/g, "");

/** Waits until the page's tiles say this. */
export async function expectShown(
  { page }: WatchedPage,
  expected: { tokensUsed: bigint; requests: bigint },
): Promise<void> {
  await vi.waitFor(async () => {
    expect(digits(await page.textContent("#tokens-used"))).toBe(String(expected.tokensUsed));
    expect(digits(await page.textContent("#requests"))).toBe(String(expected.requests));
  }, PATIENTLY);
}

/** The rows of a table, each its name and its cells, numbers without what groups their digits. */
export async function rowsOf({ page }: WatchedPage, table: string): Promise<string[][]> {
  const rows = page.getByRole("table", { name: table, exact: true }).locator("tbody tr");
  const texts = await rows.evaluateAll((all) =>
    all.map((row) => [...row.children].map((cell) => cell.textContent ?? "")),
  );
  return texts.map((cells) => cells.map(digits));
}

/** Waits until the table has these rows, and no other. Cells that are left out may say anything. */
export async function expectRows(
  watched: WatchedPage,
  table: string,
  expected: readonly (readonly string[])[],
): Promise<void> {
  await vi.waitFor(async () => {
    const rows = await rowsOf(watched, table);
    expect(rows.map((cells, at) => cells.slice(0, expected[at]?.length ?? cells.length))).toEqual(expected);
  }, PATIENTLY);
}

export const waitUntilLive = ({ page }: WatchedPage): Promise<void> =>
  page.getByText("Live", { exact: true }).waitFor();

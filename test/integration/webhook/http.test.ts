// The webhook port over real HTTP, with the real signature check and the real inbox.
import { createHmac } from "node:crypto";
import { request } from "node:http";
import { connect } from "node:net";
import Stripe from "stripe";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { STORED_EVENT_TYPES } from "../../../src/app/apply-stripe-events.ts";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { stripeWebhookVerifier } from "../../../src/stripe/webhook-verifier.ts";
import { type DeliveryOutcome, THIN_WEBHOOK_PATH, WEBHOOK_PATH } from "../../../src/webhook/app.ts";
import { startWebhookServer, type WebhookServer, type WebhookServerOptions } from "../../../src/webhook/server.ts";
import { testClock } from "../../support/clock.ts";
import { createTestDatabase, type TestDatabase } from "../../support/postgres.ts";

const SECRET = "whsec_new";
const OLD_SECRET = "whsec_old";
const THIN_SECRET = "whsec_thin";
const BODY_MAX = 4_096;

let database: TestDatabase;
let server: WebhookServer;
let outcomes: DeliveryOutcome[] = [];
let storedSignals = 0;
const logged: object[] = [];

function optionsFor(pool = database.pool): WebhookServerOptions {
  const log = (fields: object) => void logged.push(fields);
  return {
    host: "127.0.0.1",
    port: 0,
    requestTimeoutMs: 1_000,
    connectionsMax: 20,
    inbox: postgresStripeEventInbox(pool),
    verifier: stripeWebhookVerifier([SECRET, OLD_SECRET], testClock()),
    thinVerifier: stripeWebhookVerifier([THIN_SECRET], testClock()),
    storedTypes: STORED_EVENT_TYPES,
    bodyMaxBytes: BODY_MAX,
    onStored: () => {
      storedSignals += 1;
    },
    onDelivery: (outcome) => outcomes.push(outcome),
    logger: { debug: log, info: log, warn: log, error: log },
  };
}

beforeAll(async () => {
  database = await createTestDatabase();
  server = await startWebhookServer(optionsFor());
});
afterAll(async () => {
  await server.close(0);
  await database.close();
});
beforeEach(() => {
  outcomes = [];
  storedSignals = 0;
  logged.length = 0;
});

let events = 0;
function eventBody(fields: object = {}): string {
  events += 1;
  return JSON.stringify({
    id: `evt_http${events}`,
    object: "event",
    type: "customer.subscription.updated",
    created: 1_795_000_000,
    data: { object: { id: "sub_1", object: "subscription" } },
    ...fields,
  });
}

const nowSeconds = () => Math.floor(Date.now() / 1000);

function sign(payload: string, secret = SECRET, timestamp = nowSeconds()): string {
  return Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
}

interface Delivery {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly port?: number;
}

/** A delivery as Stripe makes it, but for what is given. */
function deliver(
  body: string,
  { method = "POST", path = WEBHOOK_PATH, headers = {}, port = server.port }: Delivery = {},
) {
  const all = { "content-type": "application/json; charset=utf-8", "stripe-signature": sign(body), ...headers };
  const init = { method, headers: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== "")) };
  return fetch(`http://127.0.0.1:${port}${path}`, method === "POST" ? { ...init, body } : init);
}

function thinBody(fields: object = {}): string {
  events += 1;
  return JSON.stringify({
    id: `evt_http${events}`,
    object: "v2.core.event",
    type: "v1.billing.meter.no_meter_found",
    created: "2026-11-23T18:00:00.000Z",
    related_object: null,
    ...fields,
  });
}

/** A delivery to the route of thin events, signed with its secret but for what is given. */
function deliverThin(body: string, delivery: Delivery = {}) {
  const headers = { "stripe-signature": sign(body, THIN_SECRET), ...delivery.headers };
  return deliver(body, { path: THIN_WEBHOOK_PATH, ...delivery, headers });
}

async function storedIds(): Promise<string[]> {
  const result = await database.pool.query<{ event_id: string }>("SELECT event_id FROM stripe_event ORDER BY event_id");
  return result.rows.map((row) => row.event_id);
}

describe("taken", () => {
  test("stored as it came, answered 200, the worker is told", async () => {
    const body = eventBody({ id: "evt_taken" });
    const response = await deliver(body);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ received: true });
    expect(response.headers.get("x-powered-by")).toBeNull();
    const { rows } = await database.pool.query("SELECT * FROM stripe_event WHERE event_id = 'evt_taken'");
    expect(rows).toMatchObject([
      {
        type: "customer.subscription.updated",
        object_id: "sub_1",
        created_at: new Date(1_795_000_000_000),
        payload: body,
        state: "received",
      },
    ]);
    expect([outcomes, storedSignals]).toEqual([["stored"], 1]);
  });

  test("replayed, also signed anew and all at once: 200 each time, stored once", async () => {
    const body = eventBody({ id: "evt_replayed" });
    const responses = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        deliver(body, { headers: { "stripe-signature": sign(body, SECRET, nowSeconds() - i) } }),
      ),
    );
    expect(responses.map((r) => r.status)).toEqual(Array(8).fill(200));
    expect((await storedIds()).filter((id) => id === "evt_replayed")).toHaveLength(1);
    expect(outcomes.toSorted()).toEqual([...Array(7).fill("duplicate"), "stored"]);
    expect(storedSignals).toBe(1);
  });

  test("signed with the other secret, while one is rolled", async () => {
    const body = eventBody();
    expect((await deliver(body, { headers: { "stripe-signature": sign(body, OLD_SECRET) } })).status).toBe(200);
    expect(outcomes).toEqual(["stored"]);
  });

  test("a type of no interest: 200, not stored", async () => {
    const before = await storedIds();
    expect((await deliver(eventBody({ type: "charge.succeeded" }))).status).toBe(200);
    expect(await storedIds()).toEqual(before);
    expect([outcomes, storedSignals]).toEqual([["ignored"], 0]);
  });

  test("a thin event about rejected usage, on the route of thin events: stored", async () => {
    const body = thinBody({ id: "evt_thin" });
    expect((await deliverThin(body)).status).toBe(200);
    expect(await storedIds()).toContain("evt_thin");
    expect([outcomes, storedSignals]).toEqual([["stored"], 1]);
    expect((await deliverThin(body)).status).toBe(200);
    expect(outcomes).toEqual(["stored", "duplicate"]);
  });

  test("a thin event of no interest: 200, not stored", async () => {
    const before = await storedIds();
    expect((await deliverThin(thinBody({ type: "v1.customer.created" }))).status).toBe(200);
    expect(await storedIds()).toEqual(before);
    expect(outcomes).toEqual(["ignored"]);
  });
});

describe("refused, with the reason, and nothing stored", () => {
  const body = eventBody({ id: "evt_refused" });
  test.each<[string, string, Delivery, number, string]>([
    ["no signature", body, { headers: { "stripe-signature": "" } }, 400, "signature_missing"],
    ["forged", body, { headers: { "stripe-signature": sign(body, "whsec_forged") } }, 400, "signature_invalid"],
    ["signed for another body", body, { headers: { "stripe-signature": sign(`${body} `) } }, 400, "signature_invalid"],
    [
      "stale",
      body,
      { headers: { "stripe-signature": sign(body, SECRET, nowSeconds() - 310) } },
      400,
      "timestamp_too_old",
    ],
    [
      "future",
      body,
      { headers: { "stripe-signature": sign(body, SECRET, nowSeconds() + 400) } },
      400,
      "timestamp_in_future",
    ],
    ["garbage, truly signed", "{]", {}, 400, "body_invalid"],
    ["JSON that is no event, truly signed", '{"id":"evt_refused"}', {}, 400, "body_invalid"],
    ["no body", "", { headers: { "stripe-signature": sign(body) } }, 400, "signature_invalid"],
    ["oversize", body + " ".repeat(BODY_MAX), {}, 413, "body_too_large"],
    ["another content type", body, { headers: { "content-type": "text/plain" } }, 415, "content_type_unsupported"],
    [
      "almost the content type",
      body,
      { headers: { "content-type": "application/jsonp" } },
      415,
      "content_type_unsupported",
    ],
    ["compressed", body, { headers: { "content-encoding": "gzip" } }, 415, "content_type_unsupported"],
    ["another path", body, { path: "/" }, 404, "not_found"],
    ["a path below", body, { path: `${WEBHOOK_PATH}/x` }, 404, "not_found"],
    ["a path that is no path", body, { path: "/%" }, 404, "not_found"],
    ["another case", body, { path: "/Webhooks/stripe" }, 404, "not_found"],
    ["a trailing slash", body, { path: `${WEBHOOK_PATH}/` }, 404, "not_found"],
    ["GET", body, { method: "GET" }, 405, "method_not_allowed"],
    ["PUT", body, { method: "PUT" }, 405, "method_not_allowed"],
    ["OPTIONS", body, { method: "OPTIONS" }, 405, "method_not_allowed"],
  ])("%s", async (_, sent, delivery, status, reason) => {
    const response = await deliver(sent, delivery);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ error: { reason, message: expect.stringMatching(/\w/) } });
    expect(response.headers.get("allow")).toBe(status === 405 ? "POST" : null);
    expect(outcomes).toEqual(["refused"]);
    expect(await storedIds()).not.toContain("evt_refused");
  });

  test("HEAD", async () => {
    const response = await deliver("", { method: "HEAD" });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test("oversize without saying so beforehand", async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = { "content-type": "application/json", "stripe-signature": sign(body) };
      const sent = request({ port: server.port, path: WEBHOOK_PATH, method: "POST", headers }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode));
      });
      sent.on("error", reject);
      for (let i = 0; i < 4; i++) sent.write(" ".repeat(BODY_MAX / 2));
      sent.end();
    });
    expect(status).toBe(413);
  });
});

describe("the two routes", () => {
  test("a thin event for the route of snapshots, truly signed: refused, and told where to", async () => {
    const body = thinBody({ id: "evt_lost_thin" });
    const response = await deliver(body);
    expect(response.status).toBe(400);
    const message = expect.stringContaining(`go to ${THIN_WEBHOOK_PATH}`);
    expect(await response.json()).toEqual({ error: { reason: "body_invalid", message } });
    expect(await storedIds()).not.toContain("evt_lost_thin");
  });

  test("a snapshot event for the route of thin events: the same, the other way", async () => {
    const body = eventBody({ id: "evt_lost_snapshot" });
    const response = await deliverThin(body);
    expect(response.status).toBe(400);
    const message = expect.stringMatching(new RegExp(`go to ${WEBHOOK_PATH}$`));
    expect(await response.json()).toEqual({ error: { reason: "body_invalid", message } });
    expect(await storedIds()).not.toContain("evt_lost_snapshot");
  });

  test("each has its own secrets: the other's sign nothing here", async () => {
    const thin = thinBody({ id: "evt_crossed" });
    const snapshot = eventBody({ id: "evt_crossed" });
    for (const response of [
      await deliverThin(thin, { headers: { "stripe-signature": sign(thin, SECRET) } }),
      await deliver(snapshot, { headers: { "stripe-signature": sign(snapshot, THIN_SECRET) } }),
    ])
      expect(await response.json()).toMatchObject({ error: { reason: "signature_invalid" } });
    expect(await storedIds()).not.toContain("evt_crossed");
  });

  test("the limits are the same", async () => {
    const body = thinBody({ id: "evt_limits" });
    expect((await deliverThin(body + " ".repeat(BODY_MAX))).status).toBe(413);
    expect((await deliverThin(body, { headers: { "content-type": "text/plain" } })).status).toBe(415);
    expect((await deliverThin(body, { method: "GET" })).status).toBe(405);
    expect((await deliverThin(body, { headers: { "stripe-signature": "" } })).status).toBe(400);
    expect((await deliver(body, { path: `${THIN_WEBHOOK_PATH}/` })).status).toBe(404);
    expect(await storedIds()).not.toContain("evt_limits");
  });

  test("without a secret of thin events their route is not there", async () => {
    const other = await startWebhookServer({ ...optionsFor(), thinVerifier: undefined });
    onTestFinished(() => other.close(0));
    const response = await deliverThin(thinBody(), { port: other.port });
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { reason: "not_found" } });
    expect((await deliver(eventBody(), { port: other.port })).status).toBe(200);
  });
});

describe("forged: whatever is sent, nothing that Stripe did not sign is stored", () => {
  const SIGNED = eventBody({ id: "evt_genuine" });
  const hmac = (secret: string, text: string) => createHmac("sha256", secret).update(text).digest("hex");
  const t = () => nowSeconds();
  const genuine = () => sign(SIGNED);
  const v1 = () => genuine().split("v1=")[1] ?? "";

  test.each<[string, () => { body?: string; header: string }]>([
    ["a signature of zeros", () => ({ header: `t=${t()},v1=${"0".repeat(64)}` })],
    ["an empty signature", () => ({ header: `t=${t()},v1=` })],
    ["a signature that is cut short", () => ({ header: genuine().slice(0, -1) })],
    ["a signature with more behind it", () => ({ header: `${genuine()}00` })],
    ["only the test scheme v0", () => ({ header: `t=${t()},v0=${v1()}` })],
    ["no scheme", () => ({ header: `t=${t()}` })],
    ["no time", () => ({ header: `v1=${v1()}` })],
    ["a time that is no number", () => ({ header: genuine().replace(/t=\d+/, "t=now") })],
    ["another time than was signed", () => ({ header: genuine().replace(/t=\d+/, `t=${t() - 1}`) })],
    ["a second time behind the signed one", () => ({ header: `${genuine()},t=${t() - 1}` })],
    ["an old delivery under a fresh time", () => ({ header: `${sign(SIGNED, SECRET, t() - 4_000)},t=${t()}` })],
    ["signed without the time", () => ({ header: `t=${t()},v1=${hmac(SECRET, SIGNED)}` })],
    [
      "signed with the secret without its prefix",
      () => ({ header: `t=${t()},v1=${hmac(SECRET.slice("whsec_".length), `${t()}.${SIGNED}`)}` }),
    ],
    ["signed with an empty secret", () => ({ header: `t=${t()},v1=${hmac("", `${t()}.${SIGNED}`)}` })],
    ["signed with the body as secret", () => ({ header: `t=${t()},v1=${hmac(SIGNED, `${t()}.${SIGNED}`)}` })],
    [
      "another event under a genuine signature",
      () => ({ body: eventBody({ id: "evt_genuine", type: "invoice.paid" }), header: genuine() }),
    ],
    ["one byte changed", () => ({ body: SIGNED.replace("sub_1", "sub_2"), header: genuine() })],
    [
      "the same JSON, spaced otherwise",
      () => ({ body: JSON.stringify(JSON.parse(SIGNED), null, 1), header: genuine() }),
    ],
    ["twice in one body", () => ({ body: SIGNED + SIGNED, header: genuine() })],
    ["garbage for a header", () => ({ header: ",,=,=v1;t" })],
    ["a very long header", () => ({ header: `t=${t()},${"v1=ab,".repeat(1_000)}` })],
  ])("%s", async (_, make) => {
    const { body = SIGNED, header } = make();
    const response = await deliver(body, { headers: { "stripe-signature": header } });
    expect(response.status).toBe(400);
    const reason = expect.stringMatching(/^(signature_invalid|timestamp_too_old)$/);
    expect(await response.json()).toMatchObject({ error: { reason } });
    expect(outcomes).toEqual(["refused"]);
    expect(storedSignals).toBe(0);
    expect(await storedIds()).not.toContain("evt_genuine");
  });

  test("a byte order mark before it: the SDK passes over it, and then it is no JSON", async () => {
    const response = await deliver(`\uFEFF${SIGNED}`, { headers: { "stripe-signature": genuine() } });
    expect(await response.json()).toMatchObject({ error: { reason: "body_invalid" } });
    expect(await storedIds()).not.toContain("evt_genuine");
  });

  test("many signatures of which one is genuine: taken, as while a secret is rolled", async () => {
    const body = eventBody();
    const header = sign(body).replace(",v1=", `,v1=${"0".repeat(64)},v0=${"1".repeat(64)},v1=`);
    expect((await deliver(body, { headers: { "stripe-signature": header } })).status).toBe(200);
  });
});

describe("bounds", () => {
  /** Opens a connection, sends what is given and nothing more; resolves with all that came back once the server ends it. */
  function half(sent: string): Promise<string> {
    return new Promise((resolve) => {
      let received = "";
      const socket = connect(server.port, "127.0.0.1", () => socket.write(sent));
      socket.on("data", (data) => {
        received += data.toString();
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve(received));
    });
  }

  test("a body that never ends, headers that never end: cut after the time for a request", async () => {
    const headers = `POST ${WEBHOOK_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`;
    const answers = await Promise.all([half(`${headers}Content-Length: 100\r\n\r\n{`), half(headers)]);
    for (const answer of answers) expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect((await deliver(eventBody())).status).toBe(200);
  });
});

describe("the store is away", () => {
  test("500 without a cause, so that Stripe sends it again", async () => {
    const dead = database.connect();
    await dead.end();
    const other = await startWebhookServer(optionsFor(dead));
    onTestFinished(() => other.close(0));
    const response = await deliver(eventBody(), { port: other.port });
    expect(response.status).toBe(500);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ error: { reason: "not_stored" } });
    expect(text).not.toMatch(/pool|postgres|at /i);
    expect([outcomes, storedSignals]).toEqual([["failed"], 0]);
    expect(logged).toContainEqual({ err: expect.any(Error) });
  });
});

describe("close", () => {
  test("lets a delivery under way end, takes no new one, and is one promise for all callers", async () => {
    const release = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    const real = postgresStripeEventInbox(database.pool);
    const inbox = {
      ...real,
      async store(event: Parameters<typeof real.store>[0]) {
        started.resolve();
        await release.promise;
        return real.store(event);
      },
    };
    const other = await startWebhookServer({ ...optionsFor(), inbox });
    const answer = deliver(eventBody({ id: "evt_closing" }), { port: other.port });
    await started.promise;
    const closed = other.close(10_000);
    expect(other.close(0)).toBe(closed);
    await expect(deliver(eventBody(), { port: other.port, headers: { connection: "close" } })).rejects.toThrow();
    release.resolve();
    expect((await answer).status).toBe(200);
    await closed;
    expect(await storedIds()).toContain("evt_closing");
  });

  test("cuts what does not end within the grace", async () => {
    const other = await startWebhookServer({ ...optionsFor(), requestTimeoutMs: 60_000 });
    const socket = connect(other.port, "127.0.0.1");
    const ended = new Promise((resolve) => socket.on("close", resolve));
    socket.on("error", () => {});
    await new Promise((resolve) => socket.write("POST / HTTP/1.1\r\n", resolve));
    await other.close(100);
    await ended;
  });
});

// The webhook port over real HTTP: what it takes, on which route, and how it starts and ends.
import { connect } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { THIN_WEBHOOK_PATH, WEBHOOK_PATH } from "../../../src/webhook/app.ts";
import { startWebhookServer } from "../../../src/webhook/server.ts";
import {
  BODY_MAX,
  database,
  deliver,
  deliverThin,
  eventBody,
  logged,
  nowSeconds,
  OLD_SECRET,
  optionsFor,
  outcomes,
  SECRET,
  server,
  sign,
  storedIds,
  storedSignals,
  THIN_SECRET,
  thinBody,
} from "./http-harness.ts";

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

// Event destinations, and the thin notifications that are delivered to them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { openStream, refusal, START_MS, startMetering, startWorld, VALIDATED_MS, v2Event } from "./harness.ts";
import { startReceiver } from "./webhook-receiver.ts";

const SECRET = "whsec_thin";
const NO_METER = "v1.billing.meter.no_meter_found";
const ERROR_REPORT = "v1.billing.meter.error_report_triggered";

test("a notification arrives bare and signed; the SDK parses it and fetches the event and its meter", async () => {
  const thin = await startReceiver();
  const snapshot = await startReceiver();
  const world = await startMetering({
    clock: Date.now,
    webhookEndpoints: [
      { url: thin.url, secret: SECRET, payload: "thin" },
      { url: snapshot.url, secret: "whsec_snapshot" },
    ],
  });
  const { simulator, stripe, meter } = world;
  const { send } = await openStream(world);
  await send(v2Event("cus_no", 1, "one"));
  await simulator.advanceClock(VALIDATED_MS + 10_000);
  expect(thin.types()).toEqual([ERROR_REPORT]);
  expect(snapshot.types()).toEqual(["customer.created", "billing.meter.created"]);
  const [{ body, signature } = { body: "", signature: "" }] = thin.received;
  expect(Object.keys(JSON.parse(body)).sort()).toEqual([
    "context",
    "created",
    "id",
    "livemode",
    "object",
    "reason",
    "related_object",
    "type",
  ]);
  const notification = stripe.parseEventNotification(body, signature, SECRET);
  if (notification.type !== ERROR_REPORT) throw new Error(notification.type);
  expect(notification.related_object).toMatchObject({ id: meter, type: "billing.meter" });
  expect((await notification.fetchEvent()).data.reason).toMatchObject({ error_count: 1 });
  expect((await notification.fetchRelatedObject()).event_name).toBe("tokens");
  expect(() => stripe.parseEventNotification(body, signature, "whsec_snapshot")).toThrow();
  expect(() => stripe.webhooks.constructEvent(body, signature, SECRET)).toThrow("thin event notification");
});

test("a destination made through the API shows its secret once, and its URL when asked", async () => {
  const receiver = await startReceiver();
  const world = await startMetering({ clock: Date.now });
  const { stripe, simulator } = world;
  const made = await stripe.v2.core.eventDestinations.create({
    name: "meter errors",
    type: "webhook_endpoint",
    event_payload: "thin",
    enabled_events: [NO_METER],
    webhook_endpoint: { url: receiver.url },
    include: ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
  });
  expect(made).toMatchObject({
    id: expect.stringMatching(/^ed_/),
    object: "v2.core.event_destination",
    created: expect.stringMatching(/Z$/),
    description: "",
    enabled_events: [NO_METER],
    event_payload: "thin",
    livemode: false,
    name: "meter errors",
    status: "enabled",
    type: "webhook_endpoint",
    webhook_endpoint: { url: receiver.url, signing_secret: expect.stringMatching(/^whsec_/) },
  });
  const { retrieve, list } = {
    retrieve: (include?: ["webhook_endpoint.url"]) =>
      stripe.v2.core.eventDestinations.retrieve(made.id, include && { include }),
    list: () => stripe.v2.core.eventDestinations.list(),
  };
  expect((await retrieve()).webhook_endpoint).toEqual({});
  expect((await retrieve(["webhook_endpoint.url"])).webhook_endpoint).toEqual({ url: receiver.url });
  expect((await list()).data.map(({ id }) => id)).toEqual([made.id]);
  expect((await stripe.webhookEndpoints.list()).data).toEqual([]);

  const { send } = await openStream(world);
  await send(v2Event("cus_no", 1), { ...v2Event("cus_no", 1), event_name: "nothing" });
  await simulator.advanceClock(VALIDATED_MS + 10_000);
  expect(receiver.types()).toEqual([NO_METER]);
  const [{ body, signature } = { body: "", signature: "" }] = receiver.received;
  const secret = made.webhook_endpoint?.signing_secret ?? "";
  expect(stripe.parseEventNotification(body, signature, secret)).toMatchObject({ type: NO_METER });
});

test("a destination can be changed, disabled, enabled, pinged and deleted", async () => {
  const receiver = await startReceiver();
  const { stripe, simulator } = await startWorld();
  const destinations = stripe.v2.core.eventDestinations;
  const { id } = await destinations.create({
    name: "first",
    type: "webhook_endpoint",
    event_payload: "thin",
    enabled_events: ["*"],
    webhook_endpoint: { url: "http://127.0.0.1:1/" },
    metadata: { a: "1", b: "2" },
  });
  const changed = await destinations.update(id, {
    name: "second",
    webhook_endpoint: { url: receiver.url },
    metadata: { a: null, c: "3" },
  });
  expect(changed).toMatchObject({ name: "second", metadata: { b: "2", c: "3" }, enabled_events: ["*"] });
  expect(await destinations.disable(id)).toMatchObject({
    status: "disabled",
    status_details: { disabled: { reason: "user" } },
  });
  expect(await destinations.enable(id)).toMatchObject({ status: "enabled" });
  const ping = await destinations.ping(id);
  expect(ping).toMatchObject({ type: "v2.core.event_destination.ping", related_object: { id } });
  await simulator.webhooksSettled();
  expect(receiver.received.map(({ body }) => JSON.parse(body).id)).toEqual([ping.id]);
  expect(await destinations.del(id)).toMatchObject({ id });
  expect(await refusal(destinations.retrieve(id))).toMatchObject({ status: 404, code: "not_found" });
});

test("a snapshot destination gets snapshot events; a v1 endpoint is none of v2's", async () => {
  const receiver = await startReceiver();
  const { stripe, simulator } = await startWorld({ clock: Date.now });
  await stripe.v2.core.eventDestinations.create({
    name: "snapshots",
    type: "webhook_endpoint",
    event_payload: "snapshot",
    enabled_events: ["customer.created"],
    webhook_endpoint: { url: receiver.url },
  });
  const { id } = await stripe.webhookEndpoints.create({ url: receiver.url, enabled_events: ["product.created"] });
  expect(await refusal(stripe.v2.core.eventDestinations.retrieve(id))).toMatchObject({ status: 404 });
  await stripe.customers.create({});
  await simulator.webhooksSettled();
  expect(receiver.types()).toEqual(["customer.created"]);
});

test("a notification is tried again until it is answered, signed afresh each time, and can be sent once more", async () => {
  const receiver = await startReceiver([500]);
  const world = await startMetering({ webhookEndpoints: [{ url: receiver.url, secret: SECRET, payload: "thin" }] });
  const { simulator, stripe } = world;
  const { send } = await openStream(world);
  await send(v2Event("cus_no", 1, "one"));
  await simulator.advanceClock(VALIDATED_MS);
  expect(receiver.received).toHaveLength(1);
  await simulator.advanceClock(1_000);
  expect(receiver.received).toHaveLength(2);
  const [event] = (await stripe.v2.core.events.list()).data;
  expect(await simulator.resendEvent(event?.id ?? "")).toEqual([200]);
  expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
});

test("what was neither validated nor delivered at the end of a process is so by the next", async () => {
  const directory = mkdtempSync(join(tmpdir(), "stripe-simulator-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const receiver = await startReceiver();
  const dataFile = join(directory, "journal.jsonl");
  const webhookEndpoints = [{ url: receiver.url, secret: SECRET, payload: "thin" as const }];
  const world = await startMetering({ dataFile, webhookEndpoints });
  const { send } = await openStream(world);
  await send(v2Event(world.customer, 5, "good"), v2Event("cus_no", 1, "bad"));
  await world.simulator.advanceClock(5_000);
  await world.simulator.close();
  const again = await startStripeSimulator({ clock: () => START_MS, dataFile, webhookEndpoints });
  onTestFinished(() => again.close());
  expect(again.sum("tokens")).toBe("0");
  again.configureWebhooks({ hold: true });
  await again.advanceClock(VALIDATED_MS);
  expect(again.sum("tokens")).toBe("5");
  expect(receiver.received).toEqual([]);
  await again.close();
  const last = await startStripeSimulator({ clock: () => START_MS, dataFile, webhookEndpoints });
  onTestFinished(() => last.close());
  await last.webhooksSettled();
  expect(receiver.types()).toEqual([ERROR_REPORT]);
  expect(last.sum("tokens")).toBe("5");
});

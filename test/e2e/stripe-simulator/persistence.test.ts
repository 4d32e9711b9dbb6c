// The data file: what was answered survives the death of the process.
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { startStripeSimulator } from "../../../src/stripe-simulator/server.ts";
import { startCheckedSimulator } from "../../support/checked-simulator.ts";
import { createMeter, event, raw, refusal, START_MS, sdk, startMetering } from "./harness.ts";

function dataFile(): string {
  const directory = mkdtempSync(join(tmpdir(), "stripe-simulator-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, "journal.jsonl");
}

test("everything is as it was after a restart: objects, ids, sums, saved answers, taken identifiers, time", async () => {
  const file = dataFile();
  const first = await startMetering({ dataFile: file, settings: { decimalValues: true } });
  const { stripe, customer, meter } = first;
  const price = await stripe.prices.create({
    currency: "usd",
    unit_amount: 2,
    product_data: { name: "Tokens" },
    recurring: { interval: "month", usage_type: "metered", meter },
  });
  await stripe.subscriptions.create({ customer, items: [{ price: price.id }] });
  await stripe.billing.meterEvents.create(event(customer, "5.5", "one"), { idempotencyKey: "one" });
  await refusal(stripe.billing.meterEvents.create(event(customer, 6, "one"), { idempotencyKey: "two" }));
  await refusal(stripe.billing.meterEvents.create({ ...event(customer, 6), payload: {} }, { idempotencyKey: "three" }));
  await first.simulator.advanceClock(40 * 86_400_000);
  await stripe.billing.meterEvents.create(event(customer, 7, "later"));
  await stripe.customers.update(customer, { name: "Bea" });
  const before = { ...first.simulator.state(), answered: {} };
  const eventsBefore = (await stripe.events.list({ limit: 100 })).data;
  const meterEventsBefore = first.simulator.meterEvents();
  await first.simulator.close();

  const second = await startCheckedSimulator({ clock: () => START_MS, seed: "another", dataFile: file });
  const again = sdk(second);
  expect({ ...second.state(), answered: {} }).toEqual(before);
  expect(second.meterEvents()).toEqual(meterEventsBefore);
  expect((await again.events.list({ limit: 100 })).data).toEqual(eventsBefore);
  expect(second.sum("tokens")).toBe("12.5");
  expect(before.invoices).toHaveLength(1);

  const later = event(customer, 7, "later");
  expect((await refusal(again.billing.meterEvents.create(later))).message).toBe(
    "An event already exists with identifier later.",
  );
});

test("saved answers are replayed by the next process", async () => {
  const file = dataFile();
  const first = await startMetering({ dataFile: file });
  const sent = event(first.customer, 5, "one");
  const answer = await first.stripe.billing.meterEvents.create(sent, { idempotencyKey: "k" });
  await first.simulator.close();
  const second = await startCheckedSimulator({ clock: () => START_MS, dataFile: file });
  const replayed = await sdk(second).billing.meterEvents.create(sent, { idempotencyKey: "k" });
  expect(replayed).toEqual(answer);
  expect(replayed.lastResponse.headers["idempotent-replayed"]).toBe("true");
  expect(second.sum("tokens")).toBe("5");
});

test("a torn last line is cut off, and the file goes on from there", async () => {
  const file = dataFile();
  const first = await startMetering({ dataFile: file });
  await first.stripe.billing.meterEvents.create(event(first.customer, 5, "one"));
  await first.simulator.close();
  appendFileSync(file, '{"atMs":1,"command":{"method":"POST","pa');
  for (const value of [6, 7]) {
    const next = await startCheckedSimulator({ clock: () => START_MS, dataFile: file });
    await sdk(next).billing.meterEvents.create(event(first.customer, value, `id-${value}`));
    await next.close();
  }
  const last = await startCheckedSimulator({ clock: () => START_MS, dataFile: file });
  expect(last.sum("tokens")).toBe("18");
});

test("a file that is no journal is refused and left alone", async () => {
  const file = dataFile();
  writeFileSync(file, "hello\n");
  await expect(startStripeSimulator({ dataFile: file })).rejects.toThrow(/cannot be replayed/);
  expect(readFileSync(file, "utf8")).toBe("hello\n");
});

test("an event that was not delivered before a restart is delivered after it, to the endpoint of then", async () => {
  const file = dataFile();
  const endpoints = (port: number) => [{ url: `http://127.0.0.1:${port}/hook`, secret: "whsec_x" }];
  const first = await startMetering({ dataFile: file, webhookEndpoints: endpoints(1) });
  await first.simulator.webhooksSettled();
  expect(first.simulator.state().deliveries.waiting).toBe(2);
  await first.simulator.close();
  const receiver = await startMetering();
  const second = await startCheckedSimulator({
    clock: () => START_MS,
    dataFile: file,
    webhookEndpoints: endpoints(receiver.simulator.port),
  });
  await second.webhooksSettled();
  // The receiver is another simulator: it answers 401, but it was called with both.
  expect(second.deliveryAttempts.map(({ type, status }) => [type, status])).toEqual([
    ["customer.created", 401],
    ["billing.meter.created", 401],
  ]);
});

/** Runs a simulator in a process of its own. */
async function spawnSimulator(file: string): Promise<{ readonly process: ChildProcess; readonly port: number }> {
  const server = new URL("../../../src/stripe-simulator/server.ts", import.meta.url).href;
  const script = `
    const { startStripeSimulator } = await import(${JSON.stringify(server)});
    const { port } = await startStripeSimulator({ dataFile: ${JSON.stringify(file)} });
    console.log(port);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  for await (const line of createInterface({ input: child.stdout })) return { process: child, port: Number(line) };
  throw new Error("the simulator did not start");
}

test("SIGKILL under load loses no event that was answered, and counts none twice", async () => {
  const file = dataFile();
  const answered = new Set<number>();
  let child = await spawnSimulator(file);
  const setup = sdk(child);
  const { id: customer } = await setup.customers.create({});
  await createMeter(setup, "tokens");
  let next = 0;
  for (let life = 0; life < 3; life += 1) {
    const stripe = sdk(child);
    const target = answered.size + 150;
    const send = async () => {
      for (;;) {
        const value = next;
        next += 1;
        const identifier = `id-${value}`;
        await stripe.billing.meterEvents.create(event(customer, value, identifier), { idempotencyKey: identifier });
        answered.add(value);
      }
    };
    const senders = Array.from({ length: 8 }, () => send().catch(() => {}));
    await expect.poll(() => answered.size >= target, { timeout: 20_000, interval: 5 }).toBe(true);
    child.process.kill("SIGKILL");
    await Promise.all(senders);
    child = await spawnSimulator(file);
  }
  const simulator = { url: `http://127.0.0.1:${child.port}` };
  const { body } = await raw(simulator, "GET", "/_simulator/meter_events");
  const { data } = body as { readonly data: readonly { readonly value: string }[] };
  const counted = data.map(({ value }) => Number(value));
  expect(new Set(counted).size).toBe(counted.length);
  expect([...answered].filter((value) => !counted.includes(value))).toEqual([]);

  // A client that does not know what became of its event resends it, as it was.
  const stripe = sdk(child);
  for (let value = 0; value < next; value += 1) {
    const identifier = `id-${value}`;
    await stripe.billing.meterEvents
      .create(event(customer, value, identifier), { idempotencyKey: identifier })
      .catch((error: { readonly message: string }) => expect(error.message).toMatch(/^An event already exists/));
  }
  const state = await raw(simulator, "GET", "/_simulator/state");
  expect(state.body).toMatchObject({ totals: [{ customer, sum: String((next * (next - 1)) / 2) }] });
}, 60_000);

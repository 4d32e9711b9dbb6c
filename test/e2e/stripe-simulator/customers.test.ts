// Customers as events tell of them: what changed, what it was before, and the end.
import type Stripe from "stripe";
import { expect, test } from "vitest";
import { event, refusal, startSubscribed, startWorld } from "./harness.ts";

async function eventsOf(stripe: Stripe, type: string): Promise<{ object: Stripe.Customer; previous: unknown }[]> {
  const { data } = await stripe.events.list({ type, limit: 100 });
  return data.map(({ data: { object, previous_attributes: previous } }) => ({
    object: object as Stripe.Customer,
    previous,
  }));
}

test("an update tells the changed attributes as they were; of metadata the changed keys, null for new ones", async () => {
  const { stripe } = await startWorld();
  const { id } = await stripe.customers.create({ name: "Ada", metadata: { plan: "free", tenant: "t1" } });
  await stripe.customers.update(id, { metadata: { plan: "pro", metering_customer_id: "acme" } });
  await stripe.customers.update(id, { email: "ada@example.com", metadata: { tenant: "" } });
  await stripe.customers.update(id, { metadata: "" });
  expect((await eventsOf(stripe, "customer.updated")).reverse()).toMatchObject([
    {
      object: { id, metadata: { plan: "pro", tenant: "t1", metering_customer_id: "acme" } },
      previous: { metadata: { plan: "free", metering_customer_id: null } },
    },
    {
      object: { id, metadata: { plan: "pro", metering_customer_id: "acme" } },
      previous: { email: null, metadata: { tenant: "t1" } },
    },
    { object: { id, metadata: {} }, previous: { metadata: { plan: "pro", metering_customer_id: "acme" } } },
  ]);
  const [first] = (await eventsOf(stripe, "customer.updated")).reverse();
  expect(first?.previous).toEqual({ metadata: { plan: "free", metering_customer_id: null } });
});

test("an update that changes nothing is no event", async () => {
  const { stripe } = await startWorld();
  const { id } = await stripe.customers.create({ name: "Ada", metadata: { tenant: "t1" } });
  await stripe.customers.update(id, { name: "Ada", metadata: { tenant: "t1" } });
  await stripe.customers.update(id, {});
  expect(await eventsOf(stripe, "customer.updated")).toEqual([]);
});

test("a creation tells everything, and nothing of before", async () => {
  const { stripe } = await startWorld();
  const customer = await stripe.customers.create({ name: "Ada", metadata: { metering_customer_id: "acme" } });
  const [created] = await eventsOf(stripe, "customer.created");
  expect(created?.object).toEqual({ ...customer, lastResponse: undefined });
  expect(created?.previous).toBeUndefined();
});

test("a deletion ends the subscriptions at once, tells the customer as it was last, and stops its usage", async () => {
  const { stripe, simulator, customer, subscription } = await startSubscribed();
  await stripe.billing.meterEvents.create(event(customer, 5));
  await stripe.customers.update(customer, { metadata: { tenant: "t1" } });
  await stripe.customers.del(customer);
  expect(await stripe.subscriptions.retrieve(subscription.id)).toMatchObject({ status: "canceled" });
  const types = (await stripe.events.list({ limit: 2 })).data.map(({ type }) => type);
  expect(types).toEqual(["customer.deleted", "customer.subscription.deleted"]);
  const [deleted] = await eventsOf(stripe, "customer.deleted");
  expect(deleted?.object).toMatchObject({ id: customer, object: "customer", name: "Ada", metadata: { tenant: "t1" } });
  expect(await refusal(stripe.billing.meterEvents.create(event(customer, 5)))).toMatchObject({
    status: 400,
    message: `No such customer: '${customer}'`,
  });
  expect((await stripe.customers.list()).data).toEqual([]);
  // Nothing is billed of what was used: the end of a subscription bills only if told to.
  await simulator.advanceClock(60 * 86_400_000);
  expect((await stripe.invoices.list({ customer })).data).toEqual([]);
});

// What may happen at Stripe, drawn from a seed: objects that change step by step, and the events that tell of it. For tests of order.
import type {
  CustomerState,
  InvoiceState,
  StoredStripeEvent,
  SubscriptionState,
} from "../../../src/app/ports/accounts.ts";
import type { MeterErrorReport } from "../../../src/app/ports/meter-errors.ts";
import type { Objects } from "./webhook-service.ts";

const DAY = 86_400_000;
export const T0 = Date.UTC(2026, 7, 7, 3, 4, 5);
const PERIOD = 30 * DAY;

/** Stripe as it is at one moment. */
interface World {
  readonly subscriptions: Map<string, SubscriptionState>;
  readonly invoices: Map<string, InvoiceState>;
  readonly customers: Map<string, CustomerState>;
  readonly errors: Map<string, MeterErrorReport>;
}

type Event = Omit<StoredStripeEvent, "eventId" | "createdMs">;

/** One thing that happens: the objects change, and events are made. */
interface Step {
  readonly change: (world: World) => void;
  readonly events: readonly Event[];
}

export interface Scenario {
  /** How many steps Stripe takes. */
  readonly length: number;
  /** Events of each step, in order. */
  readonly events: readonly (readonly StoredStripeEvent[])[];
  /** Stripe before the first step; `advance` takes one. */
  begin(): { readonly objects: Objects; advance(): void };
}

type Random = () => number;

/** Two customers with their metadata and subscriptions, one with periods and invoices; a one-off draft; error reports: in an order of the seed. */
export function drawScenario(random: Random, reportIds: readonly string[]): Scenario {
  const chains = [
    customerChain(random, "cus_a", T0, 2),
    customerChain(random, "cus_b", T0 - DAY, 0),
    deletedDraft(),
    errorReports(random, reportIds),
  ];
  const steps: Step[] = [];
  while (chains.some((chain) => chain.length > 0)) {
    const chain = pick(
      random,
      chains.filter((one) => one.length > 0),
    );
    steps.push(chain.shift() as Step);
  }
  let count = 0;
  const events = steps.map((step) =>
    step.events.map((event) => {
      count += 1;
      // Error reports are found by the event's own id.
      const eventId = event.type.startsWith("v1.") ? event.objectId : `evt_${count}`;
      return { ...event, eventId, createdMs: T0 + Math.floor(random() * 1000) * 1000 };
    }),
  );
  return {
    length: steps.length,
    events,
    begin() {
      const world: World = { subscriptions: new Map(), invoices: new Map(), customers: new Map(), errors: new Map() };
      let taken = 0;
      return {
        objects: objectsOf(world),
        advance() {
          steps[taken]?.change(world);
          taken += 1;
        },
      };
    },
  };
}

function objectsOf({ subscriptions, invoices, customers, errors }: World): Objects {
  return {
    subscription: async (id) => subscriptions.get(id),
    invoice: async (id) => invoices.get(id),
    customer: async (id) => customers.get(id),
    meterErrorReport: async (id) => errors.get(id),
  };
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)] as T;
}

const event = (type: string, objectId: string, object: object = {}): Event => {
  return { type, objectId, payload: JSON.stringify({ data: { object: { id: objectId, ...object } } }) };
};

/** Created, renamed now and then, with a subscription; deleted in the end, perhaps. */
function customerChain(random: Random, id: string, createdMs: number, renewalsMax: number): Step[] {
  let metadata: Record<string, string> = {};
  const say = (type: string): Step => {
    const named = pick(random, ["acme", "zeta", "acme", "operated", "", "cus_x"]);
    const said: Record<string, string> = named === "" ? {} : { metering_customer_id: named };
    metadata = said;
    const change = ({ customers }: World) => void customers.set(id, { deleted: false, createdMs, metadata: said });
    return { change, events: [event(type, id)] };
  };
  const steps = [say("customer.created"), ...subscriptionChain(random, id, renewalsMax)];
  if (random() < 0.7) steps.splice(1 + Math.floor(random() * steps.length), 0, say("customer.updated"));
  if (random() < 0.3) {
    const last = { created: createdMs / 1000, metadata };
    steps.push({
      change({ customers, subscriptions }) {
        customers.set(id, { deleted: true });
        for (const [subId, one] of subscriptions)
          if (one.stripeCustomerId === id) subscriptions.set(subId, { ...one, status: "canceled" });
      },
      events: [event("customer.deleted", id, last), event("customer.subscription.deleted", `sub_of_${id}`)],
    });
  }
  return steps;
}

/** Renewed now and then, each time with an invoice of the period that ended; paused, canceled, perhaps. */
function subscriptionChain(random: Random, stripeCustomerId: string, renewalsMax: number): Step[] {
  const subscriptionId = `sub_of_${stripeCustomerId}`;
  const startMs = T0 + Math.floor(random() * 1_000_000) * 1000;
  const periodAt = (k: number) => ({ startMs: startMs + k * PERIOD, endMs: startMs + (k + 1) * PERIOD });
  const state = (k: number, status: string, endedMs?: number): SubscriptionState => {
    const { startMs: from, endMs: to } = periodAt(k);
    const boundariesMs = [from, to, ...(endedMs === undefined ? [] : [endedMs])];
    return { subscriptionId, stripeCustomerId, status, currentPeriod: periodAt(k), boundariesMs };
  };
  const become = (type: string, next: SubscriptionState): Step => {
    const change = ({ subscriptions }: World) => void subscriptions.set(subscriptionId, next);
    return { change, events: [event(type, subscriptionId)] };
  };
  const steps = [become("customer.subscription.created", state(0, pick(random, ["incomplete", "active", "trialing"])))];
  const renewals = Math.floor(random() * (renewalsMax + 1));
  for (let k = 1; k <= renewals; k++) {
    steps.push(become("customer.subscription.updated", state(k, pick(random, ["active", "past_due"]))));
    steps.push(
      ...invoiceChain(random, `in_${k}_of_${stripeCustomerId}`, stripeCustomerId, subscriptionId, periodAt(k - 1)),
    );
  }
  if (random() < 0.3) {
    steps.push(become("customer.subscription.paused", state(renewals, "paused")));
    steps.push(become("customer.subscription.resumed", state(renewals, "active")));
  }
  if (random() < 0.4) {
    const endedMs = periodAt(renewals).startMs + 5_000;
    steps.push(become("customer.subscription.deleted", state(renewals, "canceled", endedMs)));
  }
  return steps;
}

function invoiceChain(
  random: Random,
  invoiceId: string,
  stripeCustomerId: string,
  subscriptionId: string,
  period: { readonly startMs: number; readonly endMs: number },
): Step[] {
  const line = {
    subscriptionItem: "si",
    eventName: "tokens",
    ...period,
    quantity: BigInt(Math.floor(random() * 1000)),
  };
  const draft: InvoiceState = {
    invoiceId,
    stripeCustomerId,
    subscriptionId,
    status: "draft",
    finalizesMs: period.endMs + 3_600_000,
    finalizedMs: undefined,
    lines: [line],
  };
  const final = { ...draft, status: "open", finalizesMs: undefined, finalizedMs: period.endMs + 3_600_000 };
  const become = (type: string, next: InvoiceState): Step => {
    return { change: ({ invoices }) => void invoices.set(invoiceId, next), events: [event(type, invoiceId)] };
  };
  const steps = [become("invoice.created", draft)];
  if (random() < 0.3) steps.push(become("invoice.updated", { ...draft, finalizesMs: period.endMs + 7_200_000 }));
  if (random() < 0.2) return steps;
  steps.push(become("invoice.finalized", final));
  for (let failures = Math.floor(random() * 3); failures > 0; failures--)
    steps.push(become("invoice.payment_failed", final));
  const end = pick(random, ["invoice.paid", "invoice.voided", "invoice.marked_uncollectible", ""]);
  const statuses: Record<string, string> = { "invoice.paid": "paid", "invoice.voided": "void" };
  if (end !== "") steps.push(become(end, { ...final, status: statuses[end] ?? "uncollectible" }));
  return steps;
}

/** Drafts that are no subscription's can be deleted. */
function deletedDraft(): Step[] {
  const invoiceId = "in_once";
  const undated = { finalizesMs: undefined, finalizedMs: undefined, lines: [] };
  const draft = { invoiceId, stripeCustomerId: "cus_a", subscriptionId: "", status: "draft", ...undated };
  return [
    { change: ({ invoices }) => void invoices.set(invoiceId, draft), events: [event("invoice.created", invoiceId)] },
    { change: ({ invoices }) => void invoices.delete(invoiceId), events: [event("invoice.deleted", invoiceId)] },
  ];
}

/** Two, whose samples may name the same reports. */
function errorReports(random: Random, reportIds: readonly string[]): Step[] {
  return [0, 1].map((i): Step => {
    const eventId = `evt_error_${i}`;
    const startMs = T0 + Math.floor(random() * 6) * 3_600_000;
    const samples = reportIds
      .filter(() => random() < 0.4)
      .map((identifier) => ({ identifier, message: `said by ${i}` }));
    const code = pick(random, ["archived_meter", "meter_event_customer_not_found"]);
    const noMeter = random() < 0.3;
    const report: MeterErrorReport = {
      eventId,
      eventName: noMeter ? undefined : "tokens",
      validation: { startMs, endMs: startMs + 10_000 },
      errors: [{ code: noMeter ? "no_meter" : code, count: samples.length, samples }],
    };
    const type = noMeter ? "v1.billing.meter.no_meter_found" : "v1.billing.meter.error_report_triggered";
    return { change: ({ errors }) => void errors.set(eventId, report), events: [event(type, eventId)] };
  });
}

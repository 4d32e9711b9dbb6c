// Invoices as Stripe shows them, over the wire and through the official SDK: lines that come in pages, quantities of every kind.
import { expect, test } from "vitest";
import type { InvoiceState } from "../../../src/app/ports/accounts.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeObjects } from "../../../src/stripe/objects.ts";
import { json, startStandIn, stripeError } from "./stand-in.ts";

const never = new AbortController().signal;
const [START, END] = [1_795_000_000, 1_797_592_000];

type Line = Record<string, unknown>;

function line(fields: Line = {}): Line {
  return {
    id: "il_1",
    object: "line_item",
    parent: {
      type: "subscription_item_details",
      invoice_item_details: null,
      subscription_item_details: { subscription: "sub_1", subscription_item: "si_1" },
    },
    period: { start: START, end: END },
    pricing: { type: "price_details", price_details: { price: "price_tokens", product: "prod_1" } },
    quantity: 1_234,
    quantity_decimal: "1234",
    ...fields,
  };
}

const pricing = (price: string) => ({ pricing: { type: "price_details", price_details: { price, product: "p" } } });

interface Scene {
  readonly invoice?: object;
  /** On the invoice itself; the pages hold all of them. */
  readonly lines?: readonly Line[];
  readonly pages?: readonly (readonly Line[])[];
}

/** A Stripe with one invoice, and a few prices and meters. */
async function setUp({ invoice = {}, lines = [line()], pages }: Scene) {
  const list = (data: readonly Line[], has_more: boolean) => ({ object: "list", data, has_more, url: "/x" });
  const metered = (meter: string) => ({ usage_type: "metered", interval: "month", meter });
  const prices: Record<string, object> = {
    price_tokens: { recurring: metered("mtr_1"), transform_quantity: null },
    price_thousands: { recurring: metered("mtr_1"), transform_quantity: { divide_by: 1000, round: "up" } },
    price_orphan: { recurring: metered("mtr_gone"), transform_quantity: null },
    price_seat: { recurring: { usage_type: "licensed", interval: "month", meter: null }, transform_quantity: null },
    price_once: { recurring: null, transform_quantity: null },
  };
  const missing = stripeError(404, {
    type: "invalid_request_error",
    code: "resource_missing",
    message: "No such thing",
  });
  const standIn = await startStandIn((response, request) => {
    const [path = "", query = ""] = request.path.split("?", 2);
    const id = path.split("/").at(-1) ?? "";
    const answer = () => {
      if (path === "/v1/invoices/in_1")
        return json(200, {
          id,
          object: "invoice",
          status: "open",
          customer: "cus_1",
          parent: { type: "subscription_details", subscription_details: { subscription: "sub_1" } },
          automatically_finalizes_at: null,
          status_transitions: { finalized_at: END + 3_600 },
          lines: list(lines, pages !== undefined),
          ...invoice,
        });
      if (path === "/v1/invoices/in_1/lines") {
        const at = Number(/starting_after=il_page(\d+)/.exec(query)?.[1] ?? -1) + 1;
        return json(200, list(pages?.[at] ?? [], at + 1 < (pages?.length ?? 0)));
      }
      if (path.startsWith("/v1/prices/") && id in prices) return json(200, { id, object: "price", ...prices[id] });
      if (path === "/v1/billing/meters/mtr_1")
        return json(200, { id, object: "billing.meter", event_name: "tokens", status: "active" });
      return missing;
    };
    answer()(response, request);
  });
  const warnings: string[] = [];
  const logger = { debug() {}, info() {}, warn: (_: object, message: string) => warnings.push(message), error() {} };
  const stripe = openStripe({ secretKey: "sk_test_1", apiBase: standIn.url, maxSockets: 4, timeoutMs: 5_000 });
  const objects = stripeObjects(stripe, logger);
  const paths = () => standIn.requests.map(({ path }) => path.split("?")[0]);
  return { read: () => objects.invoice("in_1", never), warnings, paths };
}

const quantities = (state: InvoiceState | undefined) => state?.lines.map(({ quantity }) => quantity);

test("a final invoice, with what it bills of a meter", async () => {
  const { read } = await setUp({});
  expect(await read()).toEqual({
    invoiceId: "in_1",
    stripeCustomerId: "cus_1",
    subscriptionId: "sub_1",
    status: "open",
    finalizesMs: undefined,
    finalizedMs: (END + 3_600) * 1000,
    lines: [
      { subscriptionItem: "si_1", eventName: "tokens", startMs: START * 1000, endMs: END * 1000, quantity: 1_234n },
    ],
  });
});

test("a draft says when it becomes final; one that Stripe leaves alone does not", async () => {
  const draft = { status: "draft", status_transitions: { finalized_at: null } };
  const timed = await setUp({ invoice: { ...draft, automatically_finalizes_at: END + 3_600 } });
  expect(await timed.read()).toMatchObject({ finalizesMs: (END + 3_600) * 1000, finalizedMs: undefined });
  const untimed = await setUp({ invoice: draft });
  expect(await untimed.read()).toMatchObject({ finalizesMs: undefined, finalizedMs: undefined });
});

test("lines beyond the first ten are read page by page, and prices and meters once", async () => {
  const pages = [0, 1, 2].map((page) =>
    Array.from({ length: 100 }, (_, i) => line({ id: i === 99 ? `il_page${page}` : `il_${page}_${i}` })),
  );
  const { read, paths } = await setUp({ pages, lines: pages[0]?.slice(0, 10) ?? [] });
  expect(quantities(await read())).toHaveLength(300);
  expect(quantities(await read())).toHaveLength(300);
  const asked = Map.groupBy(paths(), (path) => path);
  expect([...asked].map(([path, times]) => [path, times.length])).toEqual([
    ["/v1/invoices/in_1", 2],
    ["/v1/invoices/in_1/lines", 6],
    ["/v1/prices/price_tokens", 1],
    ["/v1/billing/meters/mtr_1", 1],
  ]);
});

test("what is no usage is passed over, what a removed item left behind is not", async () => {
  const left = {
    type: "invoice_item_details",
    invoice_item_details: { invoice_item: "ii_1", subscription: "sub_1", proration: false },
    subscription_item_details: null,
  };
  const lines = [
    line(pricing("price_seat")),
    line(pricing("price_once")),
    line(pricing("price_orphan")),
    line({ pricing: null }),
    line({ parent: left, quantity_decimal: "7" }),
  ];
  const { read, warnings } = await setUp({ lines });
  expect((await read())?.lines).toMatchObject([{ subscriptionItem: "ii_1", quantity: 7n }]);
  expect(warnings).toEqual([]);
});

test("a price that Stripe does not know is told, and costs its line alone", async () => {
  const { read, warnings } = await setUp({ lines: [line(pricing("price_gone")), line()] });
  expect(quantities(await read())).toEqual([1_234n]);
  expect(warnings).toEqual([expect.stringContaining("does not know")]);
});

test.each<[string, Line, bigint | undefined, number]>([
  ["beyond what a double holds", { quantity_decimal: "9007199254740993" }, 9_007_199_254_740_993n, 0],
  ["more digits than the SDK writes out", { quantity_decimal: `1${"0".repeat(31)}` }, 10n ** 31n, 1],
  ["no decimal", { quantity: 12, quantity_decimal: null }, 12n, 0],
  ["neither", { quantity: null, quantity_decimal: null }, undefined, 0],
  ["none at all", { quantity_decimal: "0" }, 0n, 0],
  ["a fraction", { quantity_decimal: "12.75" }, 12n, 1],
  ["negative", { quantity_decimal: "-3" }, -3n, 1],
  ["of a price that turns quantities into others", pricing("price_thousands"), undefined, 0],
])("a quantity %s", async (_, fields, expected, told) => {
  const { read, warnings } = await setUp({ lines: [line(fields)] });
  expect(quantities(await read())).toEqual([expected]);
  expect(warnings).toHaveLength(told);
});

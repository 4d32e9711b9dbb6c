// Customers: /v1/customers.
import type { z } from "zod";
import { mergeMetadata, metadata, params, text, unsettableText } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { noSuch } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { createdShape, isCreatedWithin, pagingShape } from "../state/collection.ts";
import { invoicePrefix } from "./invoice.ts";
import { endSubscription } from "./renewal.ts";

export interface Customer {
  readonly id: string;
  readonly created: number;
  deleted: boolean;
  name: string | null;
  email: string | null;
  description: string | null;
  phone: string | null;
  metadata: Record<string, string>;
}

/** `customer`, or the stub of a deleted one. */
export function renderCustomer(customer: Customer): object {
  if (customer.deleted) return { id: customer.id, object: "customer", deleted: true };
  return {
    id: customer.id,
    object: "customer",
    address: null,
    balance: 0,
    created: customer.created,
    currency: null,
    customer_account: null,
    default_source: null,
    delinquent: false,
    description: customer.description,
    discount: null,
    email: customer.email,
    invoice_prefix: invoicePrefix(customer.id),
    invoice_settings: { custom_fields: null, default_payment_method: null, footer: null, rendering_options: null },
    livemode: false,
    metadata: { ...customer.metadata },
    name: customer.name,
    next_invoice_sequence: 1,
    phone: customer.phone,
    preferred_locales: [],
    shipping: null,
    tax_exempt: "none",
    test_clock: null,
  };
}

/** A customer that is not deleted; otherwise the "No such customer" error, 404 or, for a parameter, 400. */
export function liveCustomer(account: Account, id: string, param?: string): Customer {
  const customer = account.customers.get(id, param);
  if (customer.deleted) throw noSuch("customer", id, param);
  return customer;
}

const fields = {
  name: unsettableText(256).optional(),
  email: unsettableText(512).optional(),
  description: unsettableText().optional(),
  phone: unsettableText(20).optional(),
  metadata: metadata(),
};
const writeCustomer = params(fields);

function create(account: Account, sent: z.infer<typeof writeCustomer>): object {
  const customer = account.customers.add({
    id: account.newId("cus_"),
    created: account.now,
    deleted: false,
    name: sent.name ?? null,
    email: sent.email ?? null,
    description: sent.description ?? null,
    phone: sent.phone ?? null,
    metadata: mergeMetadata({}, sent.metadata),
  });
  account.emit("customer.created", renderCustomer(customer));
  return renderCustomer(customer);
}

function update(account: Account, id: string, sent: z.infer<typeof writeCustomer>): object {
  const customer = liveCustomer(account, id);
  account.change("customer.updated", customer, renderCustomer, () => {
    if (sent.name !== undefined) customer.name = sent.name;
    if (sent.email !== undefined) customer.email = sent.email;
    if (sent.description !== undefined) customer.description = sent.description;
    if (sent.phone !== undefined) customer.phone = sent.phone;
    customer.metadata = mergeMetadata(customer.metadata, sent.metadata);
  });
  return renderCustomer(customer);
}

/** Ends the customer's subscriptions at once, as Stripe does. */
function remove(account: Account, id: string): object {
  const customer = liveCustomer(account, id);
  for (const subscription of account.subscriptions.values()) {
    if (subscription.customer === id && subscription.status !== "canceled") endSubscription(account, subscription);
  }
  const last = renderCustomer(customer);
  customer.deleted = true;
  account.emit("customer.deleted", last);
  return renderCustomer(customer);
}

export const customerRoutes: readonly Route[] = [
  route("POST", "/v1/customers", writeCustomer, (call) => create(call.account, call.params)),
  route(
    "GET",
    "/v1/customers",
    params({ ...pagingShape, ...createdShape, email: text(512).optional() }),
    ({ account, params: sent }) => {
      const page = account.customers.page(
        sent,
        "/v1/customers",
        (customer) =>
          !customer.deleted &&
          (sent.email === undefined || customer.email === sent.email) &&
          isCreatedWithin(customer.created, sent.created),
      );
      return { ...page, data: page.data.map(renderCustomer) };
    },
  ),
  route("GET", "/v1/customers/:id", params({}), ({ account, path }) =>
    renderCustomer(account.customers.get(path[0] ?? "")),
  ),
  route("POST", "/v1/customers/:id", writeCustomer, (call) => update(call.account, call.path[0] ?? "", call.params)),
  route("DELETE", "/v1/customers/:id", params({}), (call) => remove(call.account, call.path[0] ?? "")),
];

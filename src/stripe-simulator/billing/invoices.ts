// Invoices: /v1/invoices, those that subscriptions make.
import { z } from "zod";
import { flag, params, text } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import type { Account } from "../state/account.ts";
import { createdShape, isCreatedWithin, pageOf, pagingShape } from "../state/collection.ts";
import { type Invoice, renderInvoice, renderLine } from "./invoice.ts";
import { finalizeInvoice, markUncollectible, payInvoice, voidInvoice } from "./invoicing.ts";

const listInvoices = params({
  ...pagingShape,
  ...createdShape,
  customer: text().optional(),
  subscription: text().optional(),
  status: z.enum(["draft", "open", "paid", "uncollectible", "void"]).optional(),
});

function isListed(invoice: Invoice, sent: z.infer<typeof listInvoices>): boolean {
  return (
    (sent.customer === undefined || invoice.customer === sent.customer) &&
    (sent.subscription === undefined || invoice.subscription === sent.subscription) &&
    (sent.status === undefined || invoice.status === sent.status) &&
    isCreatedWithin(invoice.created, sent.created)
  );
}

/** A route that takes one invoice a step on. */
function step<S extends z.ZodRawShape>(
  name: string,
  shape: S,
  take: (account: Account, invoice: Invoice) => void,
): Route {
  return route("POST", `/v1/invoices/:id/${name}`, params(shape), ({ account, path }) => {
    const invoice = account.invoices.get(path[0] ?? "");
    take(account, invoice);
    return renderInvoice(account, invoice);
  });
}

export const invoiceRoutes: readonly Route[] = [
  route("GET", "/v1/invoices", listInvoices, ({ account, params: sent }) => {
    const page = account.invoices.page(sent, "/v1/invoices", (invoice) => isListed(invoice, sent));
    return { ...page, data: page.data.map((invoice) => renderInvoice(account, invoice)) };
  }),
  route("GET", "/v1/invoices/:id", params({}), ({ account, path }) =>
    renderInvoice(account, account.invoices.get(path[0] ?? "")),
  ),
  route("GET", "/v1/invoices/:id/lines", params({ ...pagingShape }), ({ account, path, params: sent }) => {
    const invoice = account.invoices.get(path[0] ?? "");
    const page = pageOf(invoice.lines, sent, "line item", `/v1/invoices/${invoice.id}/lines`);
    return { ...page, data: page.data.map((line) => renderLine(account, invoice, line)) };
  }),
  step("finalize", { auto_advance: flag().optional() }, (account, invoice) => finalizeInvoice(account, invoice, false)),
  step("pay", { paid_out_of_band: flag().optional(), off_session: flag().optional() }, payInvoice),
  step("void", {}, voidInvoice),
  step("mark_uncollectible", {}, markUncollectible),
];

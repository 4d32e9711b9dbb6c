// Products: /v1/products, as far as a price needs one.
import type { z } from "zod";
import { flag, mergeMetadata, metadata, params, text, unsettableText } from "../http/params.ts";
import { type Route, route } from "../http/router.ts";
import { badRequest } from "../http/stripe-error.ts";
import type { Account } from "../state/account.ts";
import { createdShape, isCreatedWithin, pagingShape } from "../state/collection.ts";

/** `product`. */
export interface Product {
  readonly id: string;
  readonly object: "product";
  active: boolean;
  readonly created: number;
  default_price: string | null;
  description: string | null;
  readonly images: readonly string[];
  readonly livemode: false;
  readonly marketing_features: readonly object[];
  metadata: Record<string, string>;
  name: string;
  readonly package_dimensions: null;
  readonly shippable: null;
  readonly statement_descriptor: null;
  readonly tax_code: null;
  readonly tax_details: null;
  readonly type: "service";
  unit_label: string | null;
  updated: number;
  readonly url: null;
}

/** What a new product is made of. */
export const productShape = {
  name: text(),
  id: text().optional(),
  active: flag().optional(),
  description: text().optional(),
  metadata: metadata(),
  unit_label: text(12).optional(),
};
const createProductParams = params(productShape);

/** Adds a product. Throws 400 when the id it was given is taken. */
export function createProduct(account: Account, sent: z.infer<typeof createProductParams>): Product {
  if (sent.id !== undefined && account.products.find(sent.id) !== undefined) {
    throw badRequest(`Product already exists.`, { code: "resource_already_exists", param: "id" });
  }
  const product = account.products.add({
    id: sent.id ?? account.newId("prod_"),
    object: "product",
    active: sent.active ?? true,
    created: account.now,
    default_price: null,
    description: sent.description ?? null,
    images: [],
    livemode: false,
    marketing_features: [],
    metadata: mergeMetadata({}, sent.metadata),
    name: sent.name,
    package_dimensions: null,
    shippable: null,
    statement_descriptor: null,
    tax_code: null,
    tax_details: null,
    type: "service",
    unit_label: sent.unit_label ?? null,
    updated: account.now,
    url: null,
  });
  account.emit("product.created", product);
  return product;
}

const updateProductParams = params({
  name: text().optional(),
  active: flag().optional(),
  description: unsettableText().optional(),
  metadata: metadata(),
  unit_label: unsettableText(12).optional(),
});

function update(account: Account, id: string, sent: z.infer<typeof updateProductParams>): Product {
  const product = account.products.get(id);
  const render = (target: Product) => target;
  account.change("product.updated", product, render, () => {
    product.name = sent.name ?? product.name;
    product.active = sent.active ?? product.active;
    if (sent.description !== undefined) product.description = sent.description;
    if (sent.unit_label !== undefined) product.unit_label = sent.unit_label;
    product.metadata = mergeMetadata(product.metadata, sent.metadata);
    product.updated = account.now;
  });
  return product;
}

export const productRoutes: readonly Route[] = [
  route("POST", "/v1/products", createProductParams, (call) => createProduct(call.account, call.params)),
  route(
    "GET",
    "/v1/products",
    params({ ...pagingShape, ...createdShape, active: flag().optional() }),
    ({ account, params: sent }) =>
      account.products.page(
        sent,
        "/v1/products",
        (product) =>
          (sent.active === undefined || product.active === sent.active) &&
          isCreatedWithin(product.created, sent.created),
      ),
  ),
  route("GET", "/v1/products/:id", params({}), ({ account, path }) => account.products.get(path[0] ?? "")),
  route("POST", "/v1/products/:id", updateProductParams, (call) =>
    update(call.account, call.path[0] ?? "", call.params),
  ),
];

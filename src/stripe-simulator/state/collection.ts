// Objects by id, in the order of their creation, with Stripe's list semantics: newest first, cursors, limit 1 to 100.
import { z } from "zod";
import { integer, text } from "../http/params.ts";
import { badRequest, noSuch } from "../http/stripe-error.ts";

/** The paging parameters every list takes. */
export const pagingShape = {
  limit: integer().optional(),
  starting_after: text().optional(),
  ending_before: text().optional(),
};

const range = z.strictObject({
  gt: integer().optional(),
  gte: integer().optional(),
  lt: integer().optional(),
  lte: integer().optional(),
});

/** The `created` filter of lists: a second, or bounds. */
export const createdShape = { created: z.union([range, integer()]).optional() };

/** Whether `created` (unix seconds) passes the filter. */
export function isCreatedWithin(created: number, filter: z.infer<typeof createdShape.created>): boolean {
  if (filter === undefined) return true;
  if (typeof filter === "number") return created === filter;
  return (
    (filter.gt === undefined || created > filter.gt) &&
    (filter.gte === undefined || created >= filter.gte) &&
    (filter.lt === undefined || created < filter.lt) &&
    (filter.lte === undefined || created <= filter.lte)
  );
}

/** Paging as asked for. */
export interface Paging {
  readonly limit?: number | undefined;
  readonly starting_after?: string | undefined;
  readonly ending_before?: string | undefined;
}

/** Stripe's list object. */
export interface StripeList<T> {
  readonly object: "list";
  readonly data: readonly T[];
  readonly has_more: boolean;
  readonly url: string;
}

/** Cuts one page out of `items`, which stand in answer order. Throws 400 for a limit out of 1..100 or an unknown cursor. */
export function pageOf<T extends { readonly id: string }>(
  items: readonly T[],
  paging: Paging,
  kind: string,
  url: string,
): StripeList<T> {
  const limit = paging.limit ?? 10;
  if (limit < 1) throw badRequest("This value must be greater than or equal to 1.", { param: "limit" });
  if (limit > 100) throw badRequest("This value must be less than or equal to 100.", { param: "limit" });
  if (paging.ending_before !== undefined) {
    const end = indexOf(items, paging.ending_before, kind, "ending_before");
    const start = Math.max(0, end - limit);
    return { object: "list", data: items.slice(start, end), has_more: start > 0, url };
  }
  const start =
    paging.starting_after === undefined ? 0 : indexOf(items, paging.starting_after, kind, "starting_after") + 1;
  return { object: "list", data: items.slice(start, start + limit), has_more: start + limit < items.length, url };
}

function indexOf(items: readonly { readonly id: string }[], id: string, kind: string, param: string): number {
  const index = items.findIndex((item) => item.id === id);
  if (index < 0) throw noSuch(kind, id, param);
  return index;
}

/** The objects of one kind. `kind` is the word in "No such customer". */
export class Collection<T extends { readonly id: string }> {
  readonly kind: string;
  readonly #byId = new Map<string, T>();

  constructor(kind: string) {
    this.kind = kind;
  }

  get size(): number {
    return this.#byId.size;
  }

  add(item: T): T {
    this.#byId.set(item.id, item);
    return item;
  }

  remove(id: string): void {
    this.#byId.delete(id);
  }

  find(id: string): T | undefined {
    return this.#byId.get(id);
  }

  /** Throws 404, or 400 when the id came in the parameter `param`. */
  get(id: string, param?: string): T {
    const item = this.#byId.get(id);
    if (item === undefined) throw noSuch(this.kind, id, param);
    return item;
  }

  values(): MapIterator<T> {
    return this.#byId.values();
  }

  /** One page, newest first, of those that `keep` accepts. Cost: linear in the collection. */
  page(paging: Paging, url: string, keep: (item: T) => boolean = () => true): StripeList<T> {
    return pageOf([...this.#byId.values()].reverse().filter(keep), paging, this.kind, url);
  }
}

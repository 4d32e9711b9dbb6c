// The product that the prices are of. Its id is chosen here, and Stripe keeps ids apart: however many runs race, there is one.
import Stripe from "stripe";
import { orUndefined } from "./create-once.ts";
import { READ, type SetupItem, WRITE } from "./item.ts";

/** Finds, creates or renames it; `dryRun` only says so. Rejects with the SDK's error. */
export async function ensureProduct(
  stripe: Stripe,
  wanted: { readonly id: string; readonly name: string },
  dryRun: boolean,
): Promise<SetupItem> {
  const { id, name } = wanted;
  const item = { what: "product", name, id } as const;
  const found = await orUndefined(stripe.products.retrieve(id, {}, READ));
  if (found !== undefined) return await suited(stripe, found, item, dryRun);
  if (dryRun) return { ...item, id: "", state: "would_create", note: `as ${id}` };
  try {
    await stripe.products.create({ id, name }, WRITE);
    return { ...item, state: "created", note: "" };
  } catch (cause) {
    // Somebody else may have created it since we looked.
    if (!(cause instanceof Stripe.errors.StripeInvalidRequestError)) throw cause;
    const other = await orUndefined(stripe.products.retrieve(id, {}, READ));
    if (other === undefined) throw cause;
    return await suited(stripe, other, item, dryRun);
  }
}

type Named = Pick<SetupItem, "what" | "name" | "id">;

async function suited(stripe: Stripe, found: Stripe.Product, item: Named, dryRun: boolean): Promise<SetupItem> {
  if (!found.active) {
    const note = "it is archived, so that nobody can subscribe: unarchive it in Stripe, or name another id";
    return { ...item, state: "cannot_change", note };
  }
  if (found.name === item.name) return { ...item, state: "found", note: "" };
  const note = `its name: "${found.name}" -> "${item.name}"`;
  if (dryRun) return { ...item, state: "would_change", note };
  await stripe.products.update(item.id, { name: item.name }, WRITE);
  return { ...item, state: "changed", note };
}

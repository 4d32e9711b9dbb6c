// What a Stripe customer's metadata says of whose usage it pays. Pure.

/** Longest id of a customer, in characters: as calls take it. */
const ID_MAX = 128;

/** A Stripe customer's word for whose usage it pays, as last seen. */
export interface CustomerClaim {
  readonly stripeCustomerId: string;
  /** The service's own id; undefined where the metadata names none. */
  readonly customerId: string | undefined;
  /** Of the Stripe customer. Of several that name one id the oldest stands: a later copy takes nothing away. */
  readonly createdMs: number;
  /** A deleted Stripe customer stands only where no other names the id. */
  readonly deleted: boolean;
}

/** What is wrong with an id of a customer of one's own; undefined when nothing is. */
export function customerIdProblem(customerId: string): string | undefined {
  const length = [...customerId].length;
  if (length === 0 || length > ID_MAX) return `must have 1 to ${ID_MAX} characters`;
  return customerId.isWellFormed() && !/\p{Cc}/u.test(customerId)
    ? undefined
    : "must be text without control characters";
}

/**
 * Reads a claim from metadata, and says what keeps one from being one. An id of Stripe's own is none: usage under it goes to that Stripe
 * customer, and no metadata of another may redirect it.
 */
export function claimedCustomerId(
  metadata: Readonly<Record<string, string>>,
  key: string,
): { readonly customerId: string | undefined; readonly problem: string | undefined } {
  const named = metadata[key] ?? "";
  if (named === "") return { customerId: undefined, problem: undefined };
  const problem = named.startsWith("cus_") ? "is an id of Stripe's own" : customerIdProblem(named);
  return problem === undefined ? { customerId: named, problem } : { customerId: undefined, problem };
}

// Which Stripe customer pays for a customer's usage: by an operator's word, or by the metadata of Stripe's customers.
import type { ClaimEffect, MappingChange } from "../app/ports/accounts.ts";
import type { CustomerClaim } from "../domain/customer-claim.ts";
import { inTransaction, type Pool, type Queryable } from "./pool.ts";
import { cutAllAtBoundaries, type RecutContext } from "./recut.ts";
import { sqlFile } from "./sql-file.ts";
import { lockMappings } from "./stripe-customer.ts";

const SAVE_CLAIM = sqlFile("customer-claim-save");
const FORGET_CLAIM = sqlFile("customer-claim-forget");
const READ_CLAIMS = sqlFile("customer-claim-read");
const DROP_FALLEN = sqlFile("mapping-drop-fallen");
const ADD_STANDING = sqlFile("mapping-add-standing");
const READ = sqlFile("mapping-read");
const DROP = sqlFile("mapping-drop");
const SET = sqlFile("mapping-set");
const BOUNDARIES = sqlFile("ledger-boundaries");
const LIST = sqlFile("customer-list");

/** Longest wait for other changes of mappings, and for shards. */
const LOCK_TIMEOUT_MS = 30_000;

interface MappedPair {
  readonly customer_id: string;
  readonly stripe_customer_id: string;
}

interface MappingRow extends MappedPair {
  readonly source: "operator" | "metadata";
}

/**
 * Keeps what a Stripe customer's metadata says, and maps by it. In the caller's transaction, as its last work: it may lock shards.
 * Nothing is visible before the commit.
 */
export async function saveClaim(client: Queryable, context: RecutContext, claim: CustomerClaim): Promise<ClaimEffect> {
  const { stripeCustomerId, customerId, createdMs, deleted } = claim;
  // Nobody else writes the claims of this Stripe customer, whose turn the caller has: what is kept already is followed already.
  const [before] = await claimsOf(client, [stripeCustomerId]);
  let changes: readonly MappingChange[] = [];
  if (before?.customer_id !== customerId || (before !== undefined && before.deleted !== deleted)) {
    await lockMappings(client, "alone");
    if (customerId === undefined) await client.query(FORGET_CLAIM, [stripeCustomerId]);
    else await client.query(SAVE_CLAIM, [stripeCustomerId, customerId, new Date(createdMs), deleted]);
    const concerned = [before?.customer_id, customerId].filter((id) => id !== undefined);
    const followed = await followClaims(client, concerned);
    await takeOverBoundaries(client, context, followed.added);
    changes = followed.changes;
  }
  if (customerId === undefined) return { changes, standing: undefined };
  const mapped = await readMappings(client, customerId, "");
  return { changes, standing: mapped[0]?.stripe_customer_id };
}

/** How `customers map` ended. */
export type MappingResult =
  | { readonly kind: "mapped"; readonly replaced: readonly MappingChange[] }
  /** It was so before, now by an operator's word. */
  | { readonly kind: "unchanged" }
  /** One of the two is mapped otherwise, and `replace` was not given: nothing was done. */
  | {
      readonly kind: "taken";
      readonly by: readonly { customerId: string; stripeCustomerId: string; source: string }[];
    };

/**
 * Maps a customer to a Stripe customer by an operator's word. With `replace`, in place of what either was mapped to: reports that were
 * frozen stay with the Stripe customer that they name, what is frozen from now on goes to the new one. One transaction:
 *
 * 1. no mapping changes meanwhile; 2. the mapping; 3. claims that had to yield to the old one may stand now; 4. the customer takes over the
 * period boundaries of the Stripe customer, which locks its shard.
 */
export function mapCustomer(
  pool: Pool,
  context: RecutContext,
  customerId: string,
  stripeCustomerId: string,
  replace: boolean,
): Promise<MappingResult> {
  return inTransaction(pool, async (client) => {
    await client.query("SELECT set_config('lock_timeout', $1, true)", [String(LOCK_TIMEOUT_MS)]);
    await lockMappings(client, "alone"); // 1
    const found = await readMappings(client, customerId, stripeCustomerId);
    const others = found.filter((row) => row.customer_id !== customerId || row.stripe_customer_id !== stripeCustomerId);
    if (others.length > 0 && !replace) return { kind: "taken", by: others.map(toMapping) };
    await client.query(DROP, [customerId, stripeCustomerId]); // 2
    await client.query(SET, [customerId, stripeCustomerId]);
    if (others.length === 0 && found.length > 0) return { kind: "unchanged" };
    const freed = found.map((row) => row.stripe_customer_id);
    const claims = await claimsOf(client, [...freed, stripeCustomerId]);
    const followed = await followClaims(
      client,
      [...found, ...claims].map((row) => row.customer_id),
    ); // 3
    const mapped = { customer_id: customerId, stripe_customer_id: stripeCustomerId };
    await takeOverBoundaries(client, context, [mapped, ...followed.added]); // 4
    const replaced = others.map((row): MappingChange => {
      const to = row.customer_id === customerId ? stripeCustomerId : undefined;
      return { customerId: row.customer_id, from: row.stripe_customer_id, to };
    });
    return { kind: "mapped", replaced: [...replaced, ...followed.changes] };
  });
}

/** A customer as `customers list` shows it. */
export interface ListedCustomer {
  readonly customerId: string;
  /** Null: unmapped. */
  readonly stripeCustomerId: string | null;
  /** Null where the id is Stripe's own, or unmapped. */
  readonly source: "operator" | "metadata" | null;
  readonly mappedAt: Date | null;
  /** Usage that no report has frozen yet. */
  readonly waiting: readonly { readonly eventName: string; readonly quantity: string }[];
  readonly oldestWindowStart: Date | null;
  /** When Stripe begins to refuse the oldest of it. */
  readonly billableUntil: Date | null;
  readonly alsoClaimedBy: readonly string[];
}

/** Up to `limit` customers, those first whose usage has waited longest. One statement; for people, not for probes. */
export async function listCustomers(
  pool: Pool,
  filter: { readonly unmappedOnly: boolean; readonly limit: number },
): Promise<readonly ListedCustomer[]> {
  return (await pool.query<ListedCustomer>(LIST, [filter.unmappedOnly, filter.limit])).rows;
}

/** Makes the mappings of these customers follow from the claims and operators' words that are kept. The mappings must be locked. */
async function followClaims(
  client: Queryable,
  customerIds: readonly string[],
): Promise<{ readonly changes: readonly MappingChange[]; readonly added: readonly MappedPair[] }> {
  const concerned = [[...new Set(customerIds)]];
  const fallen = (await client.query<MappedPair>(DROP_FALLEN, concerned)).rows;
  const added = (await client.query<MappedPair>(ADD_STANDING, concerned)).rows;
  const stripeIdIn = (rows: readonly MappedPair[], customerId: string) =>
    rows.find((row) => row.customer_id === customerId)?.stripe_customer_id;
  const changed = new Set([...fallen, ...added].map((row) => row.customer_id));
  const changes = [...changed].map((customerId) => {
    return { customerId, from: stripeIdIn(fallen, customerId), to: stripeIdIn(added, customerId) };
  });
  return { changes, added };
}

/** Customers that were just mapped are cut wherever their Stripe customer's own id is: whatever was heard of it before counts for them. */
async function takeOverBoundaries(
  client: Queryable,
  context: RecutContext,
  mapped: readonly MappedPair[],
): Promise<void> {
  const cuts = [];
  for (const { customer_id: customerId, stripe_customer_id } of mapped) {
    const known = await client.query<{ boundary: Date }>(BOUNDARIES, [[stripe_customer_id]]);
    cuts.push({ customerId, boundariesMs: known.rows.map((row) => row.boundary.getTime()) });
  }
  await cutAllAtBoundaries(client, context, cuts);
}

async function claimsOf(
  client: Queryable,
  stripeCustomerIds: readonly string[],
): Promise<readonly { readonly customer_id: string; readonly deleted: boolean }[]> {
  return (await client.query<{ customer_id: string; deleted: boolean }>(READ_CLAIMS, [stripeCustomerIds])).rows;
}

async function readMappings(
  client: Queryable,
  customerId: string,
  stripeCustomerId: string,
): Promise<readonly MappingRow[]> {
  return (await client.query<MappingRow>(READ, [customerId, stripeCustomerId])).rows;
}

function toMapping({ customer_id: customerId, stripe_customer_id: stripeCustomerId, source }: MappingRow) {
  return { customerId, stripeCustomerId, source };
}

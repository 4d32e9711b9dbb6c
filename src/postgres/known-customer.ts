// Whether there is such a customer: for commands, so that a mistyped id is told.
import type { Pool } from "./pool.ts";
import { sqlFile } from "./sql-file.ts";

export interface KnownCustomer {
  /** It has usage in the ledger, or a mapping. What waits in a buffer is not known yet. */
  readonly known: boolean;
  /** Where the id is a Stripe customer's: the customer that it is mapped to. */
  readonly paidFor: string | undefined;
}

/** Looks a customer up. One statement. */
export async function knownCustomer(pool: Pool, customerId: string): Promise<KnownCustomer> {
  const result = await pool.query<{ known: boolean; paidFor: string | null }>(sqlFile("customer-known"), [customerId]);
  const { known = false, paidFor = null } = result.rows[0] ?? {};
  return { known, paidFor: paidFor ?? undefined };
}

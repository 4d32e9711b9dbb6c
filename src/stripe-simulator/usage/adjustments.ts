// Cancelling a meter event, the only adjustment there is.
import { z } from "zod";
import { text } from "../http/params.ts";
import type { Account } from "../state/account.ts";

const CANCELLABLE_MS = 24 * 3_600_000;

/** The parameters, the same on v1 and v2. */
export const adjustmentSchema = z.strictObject({
  event_name: text(100),
  type: z.enum(["cancel"]),
  cancel: z.strictObject({ identifier: text(100) }),
});

/**
 * Takes the newest event of an identifier out of the sums, within 24 h of its receipt; an invoice that is final stays as it is.
 * Returns why it can't, else nothing. An event of the stream that is not validated yet cannot be cancelled, as nothing says it can.
 */
export function cancelEvent(account: Account, sent: z.infer<typeof adjustmentSchema>): string | undefined {
  const { identifier } = sent.cancel;
  const event = account.usage.withIdentifier(identifier).findLast((one) => one.object.event_name === sent.event_name);
  if (event === undefined) return `No meter event found with identifier ${identifier}.`;
  if (event.fate === "cancelled") return `The event with identifier ${identifier} was already cancelled.`;
  if (account.nowMs - event.receivedMs >= CANCELLABLE_MS) {
    return `The event with identifier ${identifier} was received more than 24 hours ago.`;
  }
  account.usage.cancel(event);
  return undefined;
}

// Sessions of the meter event stream: POST /v2/billing/meter_event_session.
import { z } from "zod";
import { type Route, route } from "../http/router.ts";
import { StripeError, unauthorized } from "../http/stripe-error.ts";
import { toRfc3339 } from "../http/v2.ts";
import type { Account } from "../state/account.ts";

const VALID_MS = 15 * 60_000;
/** A token is known as an expired one for this long; after it, it is as good as never given out. */
const REMEMBERED_MS = 24 * 3_600_000;

export interface MeterEventSession {
  readonly token: string;
  readonly expiresMs: number;
}

/** Throws 401 unless `token` is that of a session which has not expired at `nowMs`. */
export function checkSession(account: Account, token: string, nowMs: number): void {
  const session = account.sessions.get(token);
  if (session === undefined) throw unauthorized(token);
  if (nowMs >= session.expiresMs) throw sessionExpired();
}

/** As the SDK knows it: TemporarySessionExpiredError. */
export function sessionExpired(): StripeError {
  return new StripeError(401, "The meter event session has expired. Create a new one to go on.", {
    type: "temporary_session_expired",
    code: "billing_meter_event_session_expired",
  });
}

function create(account: Account): object {
  for (const { token, expiresMs } of account.sessions.values()) {
    if (account.nowMs - expiresMs < REMEMBERED_MS) break;
    account.sessions.delete(token);
  }
  const session = { token: account.newId("mets_test_"), expiresMs: account.nowMs + VALID_MS };
  account.sessions.set(session.token, session);
  return {
    id: account.newId("mes_test_"),
    object: "v2.billing.meter_event_session",
    authentication_token: session.token,
    created: toRfc3339(account.nowMs),
    expires_at: toRfc3339(session.expiresMs),
    livemode: false,
  };
}

export const meterEventSessionRoutes: readonly Route[] = [
  route("POST", "/v2/billing/meter_event_session", z.strictObject({}), (call) => create(call.account)),
];

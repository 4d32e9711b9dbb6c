// Who looks, at what: the token of the link's fragment, and the customer of its query or, without one, of the token.
import { tokenSubject } from "./token-subject.ts";

const TOKEN_KEY = "metering.token";

export interface Session {
  /** Undefined: the page was opened without one. */
  readonly token: string | undefined;
  /** Undefined: the operator's view. */
  readonly customerId: string | undefined;
}

/**
 * Takes the token out of the address bar and the tab's history, so that no copied link holds it; the tab does, until it is closed. The browser
 * lists what was opened before any script runs, token and all (seen in Chromium's history): tokens must be short-lived.
 */
export function openSession(): Session {
  takeToken();
  const asked = new URLSearchParams(location.search).get("customer");
  const token = sessionStorage.getItem(TOKEN_KEY) ?? undefined;
  const customerId = asked || (token === undefined ? undefined : tokenSubject(token));
  return { token, customerId };
}

/** A new link that is pasted over this page may differ in its fragment alone, which loads nothing: the page is then loaded anew. */
export function followNewLinks(): void {
  addEventListener("hashchange", () => {
    if (takeToken()) location.reload();
  });
}

function takeToken(): boolean {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return false;
  sessionStorage.setItem(TOKEN_KEY, given);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

// Who looks, at what: the token of the link's fragment, and the customer of its query.

const TOKEN_KEY = "metering.token";

export interface Session {
  /** Undefined: the page was opened without one. */
  readonly token: string | undefined;
  /** Undefined: the operator's view. */
  readonly customerId: string | undefined;
}

/** Takes the token out of the address bar: neither history nor a copied link holds it; the tab does, until it is closed. */
export function openSession(): Session {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("token");
  if (given !== null) {
    sessionStorage.setItem(TOKEN_KEY, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  const customerId = new URLSearchParams(location.search).get("customer");
  return { token: sessionStorage.getItem(TOKEN_KEY) ?? undefined, customerId: customerId || undefined };
}

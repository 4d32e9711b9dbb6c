// Who calls, and what that caller may do.

/** What a token may be used for. None implies another: a backend that records need not read. */
export const SCOPES = ["record", "read", "admin"] as const;
export type Scope = (typeof SCOPES)[number];

/** What an RPC may ask for: a token's scope, or `overview`, which only an operator's dashboard has. */
export type Permission = Scope | "overview";

/** Whoever a credential stands for. */
export interface Caller {
  /** By what it is known: an access token, a dashboard's, or nothing, where callers are not authenticated. */
  readonly kind: "service" | "dashboard" | "anybody";
  /** The access token's id, or what else stands for the caller in a log line. */
  readonly name: string;
  readonly permissions: ReadonlySet<Permission>;
  readonly customers: "all" | ReadonlySet<string>;
  /** When the credential ends, milliseconds since the epoch; undefined: never by itself. */
  readonly expiresMs: number | undefined;
  /** Of a dashboard's token: whose page it opens, "" for everybody's, and when it was issued, by the issuer's clock. */
  readonly dashboard?: { readonly customerId: string; readonly issuedMs: number };
}

/** How far apart the clocks of two machines are thought to be, at most. */
export const CLOCKS_DIFFER_MS = 5_000;

/** Everybody, where callers are not authenticated. */
export const ANYBODY: Caller = {
  kind: "anybody",
  name: "",
  permissions: new Set(["record", "read", "admin", "overview"]),
  customers: "all",
  expiresMs: undefined,
};

/** Whether the caller may act for a customer; the empty id stands for all of them. */
export function mayActFor({ customers }: Caller, customerId: string): boolean {
  return customers === "all" || (customerId !== "" && customers.has(customerId));
}

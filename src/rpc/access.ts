// Who calls: reads the credential of a call, and lets in or turns away.
import type { AccessDirectory } from "../app/access-directory.ts";
import type { Caller } from "../domain/access.ts";
import { MeteringError } from "../domain/errors.ts";
import type { HeaderReader } from "./call.ts";
import type { DashboardTokens } from "./dashboard-tokens.ts";

export interface AccessOptions {
  readonly directory: Pick<AccessDirectory, "check" | "holds" | "requireFresh">;
  readonly dashboards: Pick<DashboardTokens, "check">;
}

/** The scheme in any case, as RFC 9110 has it; one credential; nothing that is longer than any of ours. */
const BEARER = /^bearer +([\w.~+/=-]{1,2048})$/i;
const ACCESS_TOKEN_PREFIX = "mtr_";

/** The door of a deployment that knows its callers. */
export class Access {
  readonly #options: AccessOptions;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /**
   * Whoever calls; for an access token at once, out of memory. Throws or rejects with `unauthenticated`, the same for every reason, or with
   * `ledger_unavailable` where tokens cannot be checked.
   */
  admit(header: HeaderReader): Caller | Promise<Caller> {
    const [, credential] = BEARER.exec(header("authorization") ?? "") ?? [];
    if (credential === undefined) throw unauthenticated();
    if (credential.startsWith(ACCESS_TOKEN_PREFIX)) {
      const caller = this.#options.directory.check(credential);
      if (caller === undefined) throw unauthenticated();
      return caller;
    }
    this.#options.directory.requireFresh();
    return this.#options.dashboards.check(credential).then((caller) => {
      if (caller === undefined || !this.holds(caller)) throw unauthenticated();
      return caller;
    });
  }

  /** Whether a caller that was let in may stay: of streams. */
  holds(caller: Caller): boolean {
    return this.#options.directory.holds(caller);
  }
}

/** Tells nothing of why. */
export function unauthenticated(): MeteringError {
  const message = "a valid token is needed: authorization: Bearer <token>";
  return new MeteringError({ kind: "credentials_missing_or_invalid" }, message);
}

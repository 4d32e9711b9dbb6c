// Tokens by which a browser reads usage for a while: signed, not stored. JSON Web Tokens, so that any backend can see when one ends.
import { createHmac } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import type { Clock } from "../app/ports/clock.ts";
import { type Caller, CLOCKS_DIFFER_MS } from "../domain/access.ts";

/** Whose usage: one customer's, or everybody's. */
export type DashboardSubject = { readonly customerId: string } | "all";

export interface DashboardToken {
  readonly token: string;
  readonly expiresMs: number;
}

/** How long a token may be good. Milliseconds. */
export const DASHBOARD_TTL = { minMs: 60_000, defaultMs: 3_600_000, maxMs: 86_400_000 };

const ALGORITHM = "HS256";
const AUDIENCE = "metering-dashboard";
/** Binds the key to this use: no other signature of the deployment's is one of these. */
const PURPOSE = "metering dashboard token 1";

/** Of one deployment; every replica makes the same of the same. */
export class DashboardTokens {
  readonly #key: Uint8Array;
  readonly #issuer: string;
  readonly #clock: Clock;

  constructor(deployment: { readonly deploymentId: string; readonly tokenKey: string }, clock: Clock) {
    this.#key = createHmac("sha256", deployment.tokenKey).update(PURPOSE).digest();
    this.#issuer = deployment.deploymentId;
    this.#clock = clock;
  }

  /** `ttlMs` within DASHBOARD_TTL; ends are whole seconds. */
  async create(subject: DashboardSubject, ttlMs: number): Promise<DashboardToken> {
    const nowS = Math.floor(this.#clock.nowMs() / 1000);
    const expiresS = nowS + Math.floor(ttlMs / 1000);
    const claims =
      subject === "all"
        ? { scope: "read overview", all_customers: true }
        : { scope: "read", sub: subject.customerId, all_customers: false };
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: ALGORITHM, typ: "JWT" })
      .setIssuer(this.#issuer)
      .setAudience(AUDIENCE)
      .setIssuedAt(nowS)
      .setExpirationTime(expiresS)
      .sign(this.#key);
    return { token, expiresMs: expiresS * 1000 };
  }

  /** Undefined for whatever is no token of this deployment's that is good now. */
  async check(token: string): Promise<Caller | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        // Pinned: the token's own word on it decides nothing.
        algorithms: [ALGORITHM],
        typ: "JWT",
        issuer: this.#issuer,
        audience: AUDIENCE,
        requiredClaims: ["exp", "iat"],
        maxTokenAge: DASHBOARD_TTL.maxMs / 1000,
        // Another replica issued it, perhaps ahead of this one's clock. It ends when it says nevertheless.
        clockTolerance: CLOCKS_DIFFER_MS / 1000,
        currentDate: new Date(this.#clock.nowMs()),
      });
      const { exp = 0, iat = 0, sub, scope, all_customers: all } = payload;
      if (exp * 1000 <= this.#clock.nowMs()) return undefined;
      const dashboard = { customerId: sub ?? "", issuedMs: iat * 1000 };
      const base = { kind: "dashboard", name: "dashboard", expiresMs: exp * 1000, dashboard } as const;
      if (all === true && sub === undefined && scope === "read overview")
        return { ...base, permissions: new Set(["read", "overview"]), customers: "all" };
      if (all === false && sub !== undefined && sub !== "" && scope === "read")
        return { ...base, permissions: new Set(["read"]), customers: new Set([sub]) };
      return undefined;
    } catch {
      return undefined;
    }
  }
}

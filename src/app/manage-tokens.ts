// Access tokens, as an operator makes and revokes them.
import { MeteringError } from "../domain/errors.ts";
import { formatToken, hashSecret, makeTokenText, type RandomBytes } from "./access-token-text.ts";
import {
  ACCESS_TOKENS_MAX,
  type AccessToken,
  type AccessTokenDefinition,
  type AccessTokens,
} from "./ports/access-tokens.ts";

export interface ManageTokensOptions {
  readonly tokens: AccessTokens;
  readonly randomBytes: RandomBytes;
  /** Awaited after a change. Must not reject. */
  readonly onChange: () => Promise<void>;
}

/** Most customers that a token may list. */
export const TOKEN_CUSTOMERS_MAX = 1_000;

export class ManageTokens {
  readonly #options: ManageTokensOptions;

  constructor(options: ManageTokensOptions) {
    this.#options = options;
  }

  /** `secret` is the whole token, and is nowhere else. Throws `too_many_access_tokens`. A repeat makes another token. */
  async create(definition: AccessTokenDefinition): Promise<{ readonly token: AccessToken; readonly secret: string }> {
    const { tokens, randomBytes, onChange } = this.#options;
    const text = makeTokenText(randomBytes);
    const token = await tokens.create(text.tokenId, hashSecret(text.secret), definition);
    if (token === undefined) {
      const message = `there are ${ACCESS_TOKENS_MAX} access tokens already: revoke some`;
      throw new MeteringError({ kind: "too_many_access_tokens" }, message);
    }
    await onChange();
    return { token, secret: formatToken(text) };
  }

  /** Throws `access_token_not_found`. */
  async get(tokenId: string): Promise<AccessToken> {
    return required(tokenId, await this.#options.tokens.get(tokenId));
  }

  list(question: { after: string; limit: number; live: boolean }): Promise<readonly AccessToken[]> {
    return this.#options.tokens.list(question);
  }

  /** Idempotent. Throws `access_token_not_found`. */
  async revoke(tokenId: string): Promise<AccessToken> {
    const token = required(tokenId, await this.#options.tokens.revoke(tokenId));
    await this.#options.onChange();
    return token;
  }

  /** Ends the dashboard tokens of a customer, or ("") everybody's, that were issued so far. Resolves to when new ones are good. */
  async revokeDashboards(customerId: string): Promise<number> {
    const notBeforeMs = await this.#options.tokens.revokeDashboards(customerId);
    await this.#options.onChange();
    return notBeforeMs;
  }
}

function required(tokenId: string, token: AccessToken | undefined): AccessToken {
  if (token !== undefined) return token;
  throw new MeteringError({ kind: "access_token_not_found", tokenId }, "there is no such access token");
}

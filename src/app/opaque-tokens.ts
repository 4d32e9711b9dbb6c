// Tokens that callers carry back unread: consistency, page and resume tokens. Signed, so that a forged one is told from one that
// only no longer fits.
import { createHmac, timingSafeEqual } from "node:crypto";
import { MeteringError } from "../domain/errors.ts";
import type { IntakePosition } from "./ports/intake.ts";

type TokenKind = "consistency" | "page" | "resume";

const SIGNATURE_BYTES = 12;
/** Of an intake that is the ledger itself: there is nothing to wait for. */
const NO_POSITION: IntakePosition = { shard: -1, epoch: "", entryId: "" };

export class OpaqueTokens {
  readonly #key: string;
  /** Records of one commit share a position, hence a token; those of one batch come from several commits, in turns. */
  readonly #consistencyTokens = new WeakMap<IntakePosition, string>();

  /** `key` is the deployment's, the same on every replica. */
  constructor(key: string) {
    this.#key = key;
  }

  /** Where a reader must have come to. Kept for as long as the position is: signing costs more than all else of a record's answer. */
  consistencyToken(position: IntakePosition = NO_POSITION): string {
    let token = this.#consistencyTokens.get(position);
    if (token === undefined) {
      const { shard, epoch, entryId } = position;
      token = this.seal("consistency", [shard, epoch, entryId]);
      this.#consistencyTokens.set(position, token);
    }
    return token;
  }

  /** Base64url of signature and JSON content. `content` must survive JSON. */
  seal(kind: TokenKind, content: unknown): string {
    const body = Buffer.from(JSON.stringify(content));
    return Buffer.concat([this.#sign(kind, body), body]).toString("base64url");
  }

  /** The content; throws invalid_request naming `field` when the token was not made here for this use. */
  open(kind: TokenKind, token: string, field: string): unknown {
    const bytes = Buffer.from(token, "base64url");
    const body = bytes.subarray(SIGNATURE_BYTES);
    const signature = bytes.subarray(0, SIGNATURE_BYTES);
    if (signature.length < SIGNATURE_BYTES || !timingSafeEqual(signature, this.#sign(kind, body))) {
      const violations = [{ field, description: "not a token that this service gave out for this use" }];
      throw new MeteringError({ kind: "invalid_request", violations }, `${field} is not a token of this service`);
    }
    return JSON.parse(body.toString());
  }

  #sign(kind: TokenKind, body: Buffer): Buffer {
    return createHmac("sha256", this.#key).update(kind).update("\0").update(body).digest().subarray(0, SIGNATURE_BYTES);
  }
}

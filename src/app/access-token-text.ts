// The text of an access token: mtr_<id>_<secret>. The prefix lets scanners of leaked secrets find it; the id is no secret.
import { hash } from "node:crypto";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LENGTH = 12;
/** 22 characters of base 62 are 130.9 bits. */
const SECRET_LENGTH = 22;
const TOKEN = new RegExp(`^mtr_([0-9A-Za-z]{${ID_LENGTH}})_([0-9A-Za-z]{${SECRET_LENGTH}})$`);

/** Gives so many bytes that nobody can guess. */
export type RandomBytes = (count: number) => Uint8Array;

export interface TokenText {
  readonly tokenId: string;
  readonly secret: string;
}

/** A new one. */
export function makeTokenText(randomBytes: RandomBytes): TokenText {
  return { tokenId: randomText(ID_LENGTH, randomBytes), secret: randomText(SECRET_LENGTH, randomBytes) };
}

export function formatToken({ tokenId, secret }: TokenText): string {
  return `mtr_${tokenId}_${secret}`;
}

/** Undefined where the text is none. */
export function parseToken(text: string): TokenText | undefined {
  const [, tokenId, secret] = TOKEN.exec(text) ?? [];
  return tokenId === undefined || secret === undefined ? undefined : { tokenId, secret };
}

/**
 * What is kept of a secret. SHA-256 and no slow hash: those make guessing a password dear, and of 2^130 equally likely secrets none is ever
 * guessed, however fast a guess is; a slow one would cost every call.
 */
export function hashSecret(secret: string): Uint8Array {
  return hash("sha256", secret, "buffer");
}

/** Characters equally likely: bytes past the last whole multiple of 62 are thrown away. */
function randomText(length: number, randomBytes: RandomBytes): string {
  let text = "";
  while (text.length < length)
    for (const byte of randomBytes(2 * length)) if (byte < 248 && text.length < length) text += BASE62[byte % 62];
  return text;
}

// Stripe's idempotency layers: the answer under a key stands for at least 24 hours (v1), for 30 days (v2).
import { hash } from "node:crypto";
import { StripeError } from "../http/stripe-error.ts";

/** An answer as it goes out. `body` is text, or an object that never changes. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | object;
}

interface SavedAnswer extends Answer {
  readonly fingerprint: string;
  readonly savedMs: number;
}

const KEY_LENGTH_MAX = 255;

/** What makes two requests the same: method, path and parameters, those of a form in whatever order they were written. */
export function requestFingerprint(method: string, path: string, body: string, isJson: boolean): string {
  const sorted = isJson ? body : body.split("&").sort().join("&");
  return hash("sha256", `${method} ${path}\n${sorted}`, "base64");
}

/** The answers saved, by key. Entries expire in the order they were saved. */
export class IdempotencyLayer {
  readonly #saved = new Map<string, SavedAnswer>();

  get size(): number {
    return this.#saved.size;
  }

  /** The saved answer to replay, or undefined for a new key. Throws 400 when the key stands for other parameters. */
  lookup(key: string, fingerprint: string, nowMs: number, keptMs: number): Answer | undefined {
    if (key.length > KEY_LENGTH_MAX) {
      throw new StripeError(400, `Idempotency-Key may be at most ${KEY_LENGTH_MAX} characters.`);
    }
    const saved = this.#saved.get(key);
    if (saved === undefined || nowMs - saved.savedMs >= keptMs) return undefined;
    if (saved.fingerprint !== fingerprint) {
      throw new StripeError(
        400,
        "Keys for idempotent requests can only be used with the same parameters they were first used with. " +
          `Try using a key other than '${key}' if you meant to execute a different request.`,
        { type: "idempotency_error" },
      );
    }
    return saved;
  }

  save(key: string, fingerprint: string, answer: Answer, nowMs: number, keptMs: number): void {
    for (const [old, { savedMs }] of this.#saved) {
      if (nowMs - savedMs < keptMs) break;
      this.#saved.delete(old);
    }
    this.#saved.delete(key);
    this.#saved.set(key, { ...answer, fingerprint, savedMs: nowMs });
  }
}

/** 409 while the first request under a key has not been answered. */
export function keyInUse(key: string): StripeError {
  return new StripeError(
    409,
    "There is currently another in-progress request using this Stripe-Idempotency-Key: " +
      `${key}. Please try your request again in a few seconds.`,
    { type: "idempotency_error", code: "idempotency_key_in_use" },
  );
}

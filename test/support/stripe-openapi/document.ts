// The OpenAPI document of Stripe's billing routes: kept beside the project, never in it.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A JSON schema of OpenAPI 3.0, or any part of the document. */
export type Schema = { readonly [key: string]: unknown };

export interface Parameter {
  readonly name: string;
  readonly in: "query" | "path";
  readonly required: boolean;
  readonly schema: Schema;
}

export interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required: boolean; readonly content: { readonly [type: string]: Content } };
  readonly responses: { readonly [status: string]: { readonly content?: { readonly [type: string]: Content } } };
  /** v2: which codes come with which status. */
  readonly "x-error-codes"?: { readonly [status: string]: readonly string[] };
}

interface Content {
  readonly schema: Schema;
}

export interface OpenApiDocument {
  readonly paths: { readonly [path: string]: { readonly [method: string]: Operation } };
  readonly components: { readonly schemas: { readonly [name: string]: Schema } };
}

/**
 * Derived from the type declarations of the official SDK (stripe@23.1.0), not Stripe's own file. What it says of itself: a number is
 * an integer only where that could be told; `x-open-enum` is a list that Stripe may add to; `x-expandable` and `x-pruned` stand
 * where an object was left out.
 */
const FILE = fileURLToPath(new URL("../../../../shared/stripe/openapi-billing.json", import.meta.url));

let read: OpenApiDocument | null | undefined;

/** Null where the file is absent, which is said once. With CI=true its absence is an error. */
export function billingDocument(): OpenApiDocument | null {
  if (read !== undefined) return read;
  if (existsSync(FILE)) {
    read = JSON.parse(readFileSync(FILE, "utf8")) as OpenApiDocument;
    return read;
  }
  const message = `${FILE} is not there: the simulator's requests and answers are NOT checked against Stripe's OpenAPI`;
  if (process.env["CI"] === "true") throw new Error(message);
  process.stderr.write(`\n*** ${message} ***\n`);
  read = null;
  return null;
}

// The route table: a method and a path pattern lead to a parameter schema and a handler.
import type { z } from "zod";
import type { Account } from "../state/account.ts";
import { parseParams } from "./params.ts";

/** What a handler works with. It may change `account` only after its last check, and is a function of it and the call alone. */
export interface Call<P> {
  readonly account: Account;
  readonly params: P;
  /** The values of the pattern's `:name` segments, in order, decoded. */
  readonly path: readonly string[];
}

/** The second half of a request, run once its parameters hold. Returns the body, or throws a StripeError. */
export type Run = (account: Account, path: readonly string[]) => object;

/** One entry of the table. `prepare` throws the 400 for parameters that do not fit. */
export interface Route {
  readonly method: string;
  readonly pattern: string;
  readonly prepare: (raw: unknown) => Run;
}

/** Declares a route. Segments that begin with a colon match any one segment. */
export function route<P>(
  method: "GET" | "POST" | "DELETE",
  pattern: string,
  schema: z.ZodType<P>,
  handle: (call: Call<P>) => object,
): Route {
  return {
    method,
    pattern,
    prepare: (raw) => {
      const params = parseParams(schema, raw);
      return (account, path) => handle({ account, params, path });
    },
  };
}

/** A route found, with what its `:name` segments matched. */
export interface Match {
  readonly route: Route;
  readonly path: readonly string[];
}

/** Finds routes: literal ones in one lookup, patterns by a scan of those with as many segments. */
export class Router {
  readonly #literal = new Map<string, Route>();
  readonly #patterns = new Map<string, { readonly segments: readonly string[]; readonly route: Route }[]>();
  /** All routes, as in `POST /v1/customers/:id`. */
  readonly routes: readonly string[];

  constructor(routes: readonly Route[]) {
    this.routes = routes.map(({ method, pattern }) => `${method} ${pattern}`);
    for (const entry of routes) {
      if (!entry.pattern.includes("/:")) {
        this.#literal.set(`${entry.method} ${entry.pattern}`, entry);
        continue;
      }
      const segments = entry.pattern.split("/");
      const shape = `${entry.method} ${segments.length}`;
      const list = this.#patterns.get(shape) ?? [];
      list.push({ segments, route: entry });
      this.#patterns.set(shape, list);
    }
  }

  /** Undefined when there is no such route. */
  match(method: string, path: string): Match | undefined {
    const literal = this.#literal.get(`${method} ${path}`);
    if (literal !== undefined) return { route: literal, path: [] };
    const parts = path.split("/");
    for (const { segments, route: found } of this.#patterns.get(`${method} ${parts.length}`) ?? []) {
      const values = matchSegments(segments, parts);
      if (values !== undefined) return { route: found, path: values };
    }
    return undefined;
  }
}

function matchSegments(segments: readonly string[], parts: readonly string[]): string[] | undefined {
  const values: string[] = [];
  for (const [index, segment] of segments.entries()) {
    const part = parts[index] ?? "";
    if (segment.startsWith(":") && part !== "") values.push(decode(part));
    else if (segment !== part) return undefined;
  }
  return values;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

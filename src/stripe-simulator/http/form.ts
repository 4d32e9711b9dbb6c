// Stripe's v1 encoding: application/x-www-form-urlencoded with brackets for nesting, in bodies and in query strings.
import { badRequest } from "./stripe-error.ts";

/** What a form decodes to: text at the leaves, objects and arrays above. */
export type FormValue = string | FormValue[] | { [key: string]: FormValue };

const PAIRS_MAX = 2_000;
const DEPTH_MAX = 8;

/**
 * Decodes `a=1&b[c]=2&d[0]=x&e[]=y` into `{a:"1", b:{c:"2"}, d:["x"], e:["y"]}`. Brackets may be literal or percent-encoded, a
 * space `%20` or `+`. Keys 0..n-1 make an array. The last of equal keys wins. Throws a 400 StripeError on broken encoding.
 */
export function decodeForm(text: string): { [key: string]: FormValue } {
  const root: { [key: string]: FormValue } = Object.create(null);
  if (text === "") return root;
  const pairs = text.split("&");
  if (pairs.length > PAIRS_MAX) throw badRequest("Too many parameters.");
  for (const pair of pairs) {
    if (pair === "") continue;
    const cut = pair.indexOf("=");
    const key = percentDecoded(cut < 0 ? pair : pair.slice(0, cut));
    place(root, key, cut < 0 ? "" : percentDecoded(pair.slice(cut + 1)));
  }
  for (const key of Object.keys(root)) root[key] = withArrays(root[key] as FormValue);
  return root;
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text.includes("+") ? text.replaceAll("+", " ") : text);
  } catch {
    throw badRequest("Invalid request body: malformed percent-encoding.");
  }
}

function place(root: { [key: string]: FormValue }, key: string, value: string): void {
  const open = key.indexOf("[");
  if (open <= 0 || !key.endsWith("]")) {
    root[key] = value;
    return;
  }
  const path = [key.slice(0, open), ...key.slice(open + 1, -1).split("][")];
  if (path.length > DEPTH_MAX) throw badRequest("Parameters are nested too deeply.");
  let node = root;
  for (const step of path.slice(0, -1)) {
    const next = node[step];
    if (typeof next === "object" && !Array.isArray(next)) {
      node = next;
    } else {
      const created: { [key: string]: FormValue } = Object.create(null);
      node[step] = created;
      node = created;
    }
  }
  const last = path.at(-1) ?? "";
  node[last === "" ? String(Object.keys(node).length) : last] = value;
}

function withArrays(value: FormValue): FormValue {
  if (typeof value === "string" || Array.isArray(value)) return value;
  const keys = Object.keys(value);
  for (const key of keys) value[key] = withArrays(value[key] as FormValue);
  return keys.length > 0 && keys.every((key, index) => key === String(index)) ? Object.values(value) : value;
}

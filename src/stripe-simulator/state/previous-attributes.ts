// What an *.updated event says of the past.

type Attributes = Readonly<Record<string, unknown>>;

/** The attributes of `before` that `after` has differently: nested objects by their changed keys, lists whole, null for new ones. */
export function previousAttributes(before: object, after: object): Attributes {
  const was = before as Attributes;
  const is = after as Attributes;
  const previous: Record<string, unknown> = {};
  for (const key of new Set([...Object.keys(was), ...Object.keys(is)])) {
    const [old, current] = [was[key], is[key]];
    if (JSON.stringify(old) === JSON.stringify(current)) continue;
    previous[key] = isAttributes(old) && isAttributes(current) ? previousAttributes(old, current) : (old ?? null);
  }
  return previous;
}

function isAttributes(value: unknown): value is Attributes {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Exact sums per customer and name, and how two of them differ.

/** A name is a meter, "requests", or a Stripe event name. */
export class Sums {
  readonly #byCustomer = new Map<string, Map<string, bigint>>();

  add(customerId: string, name: string, quantity: bigint): void {
    let sums = this.#byCustomer.get(customerId);
    if (sums === undefined) {
      sums = new Map();
      this.#byCustomer.set(customerId, sums);
    }
    sums.set(name, (sums.get(name) ?? 0n) + quantity);
  }

  of(customerId: string, name: string): bigint {
    return this.#byCustomer.get(customerId)?.get(name) ?? 0n;
  }

  /** Over all customers. */
  total(name: string): bigint {
    let sum = 0n;
    for (const sums of this.#byCustomer.values()) sum += sums.get(name) ?? 0n;
    return sum;
  }

  /** Sorted. */
  names(): readonly string[] {
    return [...new Set([...this.#byCustomer.values()].flatMap((sums) => [...sums.keys()]))].sort();
  }

  customerIds(): readonly string[] {
    return [...this.#byCustomer.keys()];
  }
}

/** A place where two sums are not the same. */
export interface Difference {
  readonly customerId: string;
  readonly name: string;
  readonly expected: bigint;
  readonly found: bigint;
}

/** Every customer and name at which `found` is not as `expected`, whichever of the two knows of it. */
export function differencesOf(expected: Sums, found: Sums): Difference[] {
  const names = new Set([...expected.names(), ...found.names()]);
  const customerIds = new Set([...expected.customerIds(), ...found.customerIds()]);
  return [...customerIds].flatMap((customerId) =>
    [...names]
      .map((name) => ({ customerId, name, expected: expected.of(customerId, name), found: found.of(customerId, name) }))
      .filter((place) => place.expected !== place.found),
  );
}

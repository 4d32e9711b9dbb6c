// What endpoints and destinations have in common: a URL, and the kinds of event that go there.

/** Whether both lead to the same place, however they are written. */
export function sameUrl(one: string | undefined, other: string): boolean {
  return one !== undefined && URL.canParse(one) && new URL(one).href === new URL(other).href;
}

/** Of the needed kinds those that are not sent. "*" sends all. */
export function missingEvents<Kind extends string>(enabled: readonly string[], needed: readonly Kind[]): Kind[] {
  return enabled.includes("*") ? [] : needed.filter((kind) => !enabled.includes(kind));
}

/** Further ones at the same URL, for a note. */
export function describeUrl(others: readonly { readonly id: string }[]): string {
  return `${others.map(({ id }) => id).join(", ")} too ${others.length === 1 ? "has" : "have"} this URL`;
}

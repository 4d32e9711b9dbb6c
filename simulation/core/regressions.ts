// Seeds that once failed, and why. They are played by the test for as long as they draw about the same world. A change of what is drawn makes
// other worlds of them: so each names the sabotage that brings its fault back, and `npm run simulate:controls` sees whether it still fails then.

export interface Regression {
  readonly seed: number;
  readonly found: string;
  /** Name of one in sabotages.ts. */
  readonly sabotage: string;
}

export const REGRESSIONS: readonly Regression[] = [
  {
    seed: 61_975,
    found:
      "a customer was mapped anew, and what Stripe lacked on either side of a boundary was made up for on one: an invoice billed too much",
    sabotage: "boundaries are those of whom a Stripe customer is mapped to now",
  },
  ...[5_782, 13_648, 15_287, 62_644].map((seed) => ({
    seed,
    found:
      "counters of a key were deleted by hand, and begun again by a late repeat: it was told to have used less than it had",
    sabotage: "a key that a late repeat began again is completed as if it were the first time",
  })),
  ...[25, 298].map((seed) => ({
    seed,
    found: "a failover lost all of a stream, and what came after it was taken for its beginning: no gap",
    sabotage: "a stream may begin anew within an epoch",
  })),
  ...[11_012, 11_881].map((seed) => ({
    seed,
    found:
      "Redis came back empty before the first drain: the ledger took it for a new one, and said nothing of the loss",
    sabotage: "a ledger follows a stream when it first drains it",
  })),
  ...[149, 188, 280].map((seed) => ({
    seed,
    found: "a void's report was counted after its invoice was final, and the customer never credited",
    sabotage: "what was taken back too late for its invoice is not carried on",
  })),
];

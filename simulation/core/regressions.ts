// Seeds that once failed, and why. They are played by the test for as long as they draw about the same world. A change of what is drawn makes
// other worlds of them: so each names the sabotage that brings its fault back, and `npm run simulate:controls` sees whether it still fails then.

export interface Regression {
  readonly seed: number;
  readonly found: string;
  /** Name of one in sabotages.ts. */
  readonly sabotage: string;
}

export const REGRESSIONS: readonly Regression[] = [
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

// Seeds that once failed, and why. They are played by the test for as long as they draw about the same world: a change of what is drawn
// makes others of them, and then what they found is kept by a sabotage, or by a test of its own.

export interface Regression {
  readonly seed: number;
  readonly found: string;
}

export const REGRESSIONS: readonly Regression[] = [
  { seed: 2, found: "a failover lost all of a stream, and what came after it was taken for its beginning: no gap" },
  { seed: 25, found: "the same" },
  { seed: 298, found: "the same" },
  {
    seed: 11_012,
    found:
      "Redis came back empty before the first drain: the ledger took it for a new one, and said nothing of the loss",
  },
  { seed: 11_881, found: "the same" },
  { seed: 11_884, found: "the same" },
];

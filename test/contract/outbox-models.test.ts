// The simulation's models of the outbox say what the statements say: the same operations, drawn from a seed, on both, on one virtual time.
// Compared after each: what it answered, and every row.
import { expect, onTestFinished, test } from "vitest";
import { Random } from "../../simulation/random.ts";
import { VirtualDatabase } from "../../simulation/virtual-database.ts";
import { createTestDatabase } from "../support/postgres.ts";
import { pickSeed } from "../support/seed.ts";
import { ModelSide } from "./outbox-models/model-side.ts";
import { drawOperation } from "./outbox-models/operations.ts";
import { PostgresSide } from "./outbox-models/postgres-side.ts";
import type { Side } from "./outbox-models/side.ts";

const START_MS = Date.UTC(2026, 2, 3, 10);
/** The same each time, and new ones. */
const FIXED = [11, 25, 146, 2318222, 715810491, 1530884577];
const FRESH = 2;
const OPERATIONS = 150;

/** Kinds and states of reports that must come about. */
const ALL_SEEN = [
  "usage accepted",
  "usage sent",
  "usage unknown",
  "usage held",
  "usage superseded",
  "retry accepted",
  "drift accepted",
  "repair accepted",
  "repair held",
  "unbilled accepted",
  "carry accepted",
];

/** Answers and refusals alike. */
async function answerOf(run: () => Promise<unknown>): Promise<unknown> {
  try {
    return { answer: await run() };
  } catch (cause) {
    return { refused: cause instanceof Error ? cause.name : String(cause) };
  }
}

async function startPostgres(): Promise<PostgresSide> {
  const { url, close } = await createTestDatabase({ template: "template0" });
  const database = await VirtualDatabase.create(url, START_MS);
  const side = await PostgresSide.open(database);
  onTestFinished(async () => {
    await side.close();
    await database.close();
    await close();
  });
  return side;
}

test("models and statements agree, operation by operation", { timeout: 300_000 }, async () => {
  const fresh = pickSeed();
  const seen = new Set<string>();
  for (const seed of [...FIXED, ...Array.from({ length: FRESH }, (_, i) => fresh + i)]) {
    const random = new Random(seed, "operations");
    const sides: readonly [Side, Side] = [await startPostgres(), new ModelSide(START_MS)];
    const done: string[] = [];
    for (let i = 0; i < OPERATIONS; i += 1) {
      const operation = drawOperation(random);
      done.push(operation.name);
      const again = `SEED=${seed}, after ${done.slice(-8).join(", ")}`;
      const [expected, actual] = [
        await answerOf(() => operation.run(sides[0])),
        await answerOf(() => operation.run(sides[1])),
      ];
      expect(actual, again).toEqual(expected);
      const rows = await sides[1].rows();
      expect(rows, again).toEqual(await sides[0].rows());
      for (const row of rows["reports"] ?? []) seen.add(`${row[2]} ${row[6]}`);
    }
  }
  // Else they agree about nothing.
  expect([...seen].sort()).toEqual(expect.arrayContaining(ALL_SEEN));
});

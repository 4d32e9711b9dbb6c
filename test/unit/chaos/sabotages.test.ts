// The controls break production's code where they mean to.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { SABOTAGES } from "../../../chaos/sabotages.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

test("every sabotage fits the code that it is of", () => {
  const misfits = SABOTAGES.filter(({ file, find }) => readFileSync(ROOT + file, "utf8").split(find).length !== 2);
  expect(misfits.map(({ name }) => name)).toEqual([]);
});

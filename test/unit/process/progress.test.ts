import { expect, test } from "vitest";
import { Progress } from "../../../src/process/progress.ts";

function terminal(isTTY: boolean) {
  const written: string[] = [];
  return { written, output: { isTTY, columns: 30, write: (text: string) => written.push(text) } };
}

test("shows the first and the last step on a terminal, within its width, and takes the line away", () => {
  const { written, output } = terminal(true);
  const progress = new Progress("replaying", 1_000, output);
  for (let done = 1; done <= 1_000; done++) progress.show(done, "and a note that is far too long for the line");
  progress.end();
  expect(written[0]).toContain("replaying 1/1000 (0 %)");
  expect(written.at(-2)).toContain("replaying 1000/1000 (100 %)");
  expect(written.length).toBeLessThan(100);
  for (const text of written) expect(text.replace("\r\u001b[K", "").length).toBeLessThan(30);
  expect(written.at(-1)).toBe("\r\u001b[K");
});

test("writes nothing where no person looks", () => {
  const { written, output } = terminal(false);
  const progress = new Progress("replaying", 10, output);
  progress.show(10);
  progress.end();
  expect(written).toEqual([]);
});

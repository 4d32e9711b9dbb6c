// A copy of the project in which production's code is broken in one place.
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

export interface Sabotage {
  readonly name: string;
  /** From the root of the repository. */
  readonly file: string;
  /** Found exactly once in the file. */
  readonly find: string;
  readonly replace: string;
}

/** Copies these parts of the project, sabotages the copy, hands it to `work`, and takes it away. */
export async function withSabotage<T>(
  sabotage: Sabotage,
  parts: readonly string[],
  work: (copy: string) => Promise<T>,
): Promise<T> {
  const copy = await mkdtemp(join(tmpdir(), "metering-control-"));
  try {
    for (const part of [...parts, "package.json"]) await cp(join(ROOT, part), join(copy, part), { recursive: true });
    await symlink(join(ROOT, "node_modules"), join(copy, "node_modules"));
    await apply(sabotage, copy);
    return await work(copy);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** Throws where the text to be replaced is not there just once: then production's code has moved on, and the sabotage has to follow. */
async function apply({ name, file, find, replace }: Sabotage, copy: string): Promise<void> {
  const path = join(copy, file);
  const text = await readFile(path, "utf8");
  const found = text.split(find).length - 1;
  if (found !== 1) throw new Error(`"${name}": its text is ${found} times in ${file}, not once`);
  await writeFile(
    path,
    text.replace(find, () => replace),
  );
}

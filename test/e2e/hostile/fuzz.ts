// `npm run fuzz -- --minutes M --seed S`: hostile input by hand, for longer than the suite has time for.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "5" }, seed: { type: "string" } } });
const seconds = Number(values.minutes) * 60;
if (!(seconds > 0) || (values.seed !== undefined && !/^\d{1,10}$/.test(values.seed))) {
  process.stderr.write("fuzz: --minutes must be above 0, and --seed a whole number\n");
  process.exit(2);
}
const vitest = fileURLToPath(new URL("../../../node_modules/vitest/vitest.mjs", import.meta.url));
const child = spawn(process.execPath, [vitest, "run", "test/e2e/hostile"], {
  stdio: "inherit",
  env: { ...process.env, FUZZ_SECONDS: String(seconds), ...(values.seed !== undefined && { SEED: values.seed }) },
});
child.once("exit", (code) => process.exit(code ?? 1));

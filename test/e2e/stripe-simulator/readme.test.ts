// The simulator's README: its examples run as they stand, and it leaves out no route, fault or setting.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { CONTROL_ROUTES } from "../../../src/stripe-simulator/control/control-routes.ts";
import { faultSchema } from "../../../src/stripe-simulator/control/faults.ts";
import { DEFAULT_SETTINGS } from "../../../src/stripe-simulator/state/settings.ts";
import { conductSchema } from "../../../src/stripe-simulator/webhooks/delivery-conduct.ts";
import { startWorld } from "./harness.ts";

const README = readFileSync(new URL("../../../src/stripe-simulator/README.md", import.meta.url), "utf8");
const EXAMPLES = [...README.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, code]) => code ?? "");

test("every example succeeds, in their order", async () => {
  const { simulator, stripe } = await startWorld();
  const script = `set -eu -o pipefail\n${EXAMPLES.join("\n")}`.replace("http://127.0.0.1:12111", simulator.url);
  expect(script).toContain(simulator.url);
  const { stdout } = await promisify(execFile)("bash", ["-x", "-c", script]);
  expect(stdout).toContain('"times_accepted":1');
  expect((await stripe.invoices.list({ status: "paid" })).data.map(({ total }) => total)).toContain(27);
  expect(simulator.sum("tokens")).toBe("140000");
});

test("routes, faults, settings and what goes wrong with webhooks are all there", () => {
  const named = (name: string) => README.includes(`\`${name}\``);
  const paths = CONTROL_ROUTES.map((route) => route.split(" ")[1] ?? "");
  expect(paths.filter((path) => !README.includes(path.replace(/\/fail$/, "")))).toEqual([]);
  expect(faultSchema.shape.kind.options.filter((kind) => !named(kind))).toEqual([]);
  expect(Object.keys(DEFAULT_SETTINGS).filter((setting) => !named(setting))).toEqual([]);
  expect(Object.keys(conductSchema.shape).filter((field) => !README.includes(field))).toEqual([]);
});

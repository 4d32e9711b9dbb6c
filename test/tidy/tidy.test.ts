// The rules of the house, held over the whole repository. rules.test.ts shows that each can fail.
import { globSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import {
  banProblems,
  commentProblems,
  cycleProblems,
  deadFileProblems,
  importProblems,
  longFileProblems,
  longFunctionProblems,
  scriptProblems,
} from "./rules.ts";
import { readFacts } from "./source-facts.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => readFileSync(ROOT + path, "utf8");
const files = (pattern: string) => globSync(pattern, { cwd: ROOT }).sort();

const texts = new Map(files("src/**/*.ts").map((path) => [path.slice("src/".length), read(path)]));
const sources = [...texts].map(([path, text]) => ({ path, facts: readFacts(text) }));
/** All code of the repository, paths from the root. */
const all = files("{src,test,bench,bin,simulation,chaos}/**/*.{ts,mjs}").map((path) => {
  return { path, facts: readFacts(read(path)) };
});
const scripts = files("src/**/*.{sql,lua}").map((path) => ({ path: path.slice("src/".length), text: read(path) }));

test("the repository is being looked at", () => {
  expect(sources.length).toBeGreaterThan(100);
  expect(scripts.length).toBeGreaterThan(30);
});

test("imports run one way, and each library stays in its room", () => {
  expect(sources.flatMap(importProblems)).toEqual([]);
});

test("no imports go round", () => {
  expect(cycleProblems(sources)).toEqual([]);
});

test("every source file is used by the command line or by the page", () => {
  const isOfPage = ({ path }: { path: string }) => path.startsWith("dashboard/");
  expect(
    deadFileProblems(
      sources.filter((file) => !isOfPage(file)),
      "process/cli.ts",
    ),
  ).toEqual([]);
  expect(deadFileProblems(sources.filter(isOfPage), "dashboard/main.ts")).toEqual([]);
});

test("functions and files are of a size to be read", () => {
  expect(sources.flatMap(longFunctionProblems)).toEqual([]);
  expect(all.flatMap(({ path, facts }) => longFileProblems(path, facts))).toEqual([]);
});

test("time, chance, environment and output are passed in", () => {
  expect(sources.flatMap(banProblems)).toEqual([]);
});

test("nothing is left undone, no check is switched off", () => {
  expect(all.flatMap(({ path, facts }) => commentProblems(path, facts))).toEqual([]);
});

test("every statement and script says what its parameters are, and is used", () => {
  expect(scripts.flatMap((script) => scriptProblems(script, texts))).toEqual([]);
});

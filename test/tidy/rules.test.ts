// Each rule is shown a file that breaks it, and one that just does not.
import { describe, expect, test } from "vitest";
import {
  banProblems,
  commentProblems,
  cycleProblems,
  deadFileProblems,
  importProblems,
  longFileProblems,
  longFunctionProblems,
  type SourceFile,
  scriptProblems,
} from "./rules.ts";
import { readFacts } from "./source-facts.ts";

const file = (path: string, text: string): SourceFile => ({ path, facts: readFacts(text) });

describe("imports", () => {
  test.each([
    ["domain/a.ts", 'import { b } from "../app/b.ts";', "domain may not import app"],
    ["domain/a.ts", 'import { readFileSync } from "node:fs";', "domain may not import node:fs"],
    ["app/a.ts", 'import type { Pool } from "../postgres/pool.ts";', "app may not import postgres"],
    ["app/ports/a.ts", 'export * from "../../redis/keys.ts";', "app may not import redis"],
    ["app/a.ts", 'import { once } from "node:events";', "app may not import node:events"],
    ["redis/a.ts", 'import { b } from "../postgres/b.ts";', "redis may not import postgres"],
    ["postgres/a.ts", 'const b = await import("../process/b.ts");', "postgres may not import process"],
    ["webhook/a.ts", 'import Stripe from "stripe";', "webhook may not import stripe"],
    ["process/a.ts", 'import pg from "pg";', "process may not import pg"],
    ["app/a.ts", 'import { A } from "../../gen/metering/v1/usage_pb.ts";', "app may not import ../../gen"],
    ["process/a.ts", 'import { A } from "../../gen/metering/v1/usage_pb.ts";', "process may not import ../../gen"],
    ["stripe-simulator/a.ts", 'import { b } from "../domain/b.ts";', "stripe-simulator may not import domain"],
    ["rpc/a.ts", 'import { x } from "leftpad";', "rpc may not import leftpad"],
    ["rpc/a.ts", 'import { x } from "../../test/support/x.ts";', "rpc may not import ../../test"],
    ["utils/a.ts", "", "there is no room called utils"],
  ])("%s: %s", (path, text, problem) => {
    const problems = importProblems(file(path, text));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  test.each([
    ["domain/a.ts", 'import { hash } from "node:crypto"; import { b } from "./b.ts";'],
    ["app/a.ts", 'import { b } from "../domain/b.ts"; import type { C } from "./ports/c.ts";'],
    ["redis/a.ts", 'import { Redis } from "ioredis"; import { readFileSync } from "node:fs";'],
    [
      "rpc/a.ts",
      'import { A } from "../../gen/metering/v1/usage_pb.ts"; import { create } from "@bufbuild/protobuf/wkt";',
    ],
    ["process/commands/a.ts", 'const b = await import("../../stripe-simulator/server.ts");'],
  ])("%s may: %s", (path, text) => expect(importProblems(file(path, text))).toEqual([]));
});

describe("cycles and dead files", () => {
  const a = file("app/a.ts", 'import { type A, b } from "./ports/b.ts";');
  const b = file("app/ports/b.ts", 'import { c } from "../c.ts";');
  const c = file("app/c.ts", 'export { a } from "./a.ts";');

  test("a cycle is found, through re-exports too, unless it is one of types alone", () => {
    expect(cycleProblems([a, b, c])).toEqual(["imports go round: app/a.ts -> app/ports/b.ts -> app/c.ts -> app/a.ts"]);
    for (const text of ["", 'import type { A } from "./a.ts";', 'import { type A } from "./a.ts";'])
      expect(cycleProblems([a, b, file("app/c.ts", text)])).toEqual([]);
  });

  test("a file that nothing imports is found", () => {
    const entry = file("process/cli.ts", 'await import("../app/a.ts");');
    expect(deadFileProblems([entry, a, b, c], "process/cli.ts")).toEqual([]);
    const dead = file("app/dead.ts", 'import "./a.ts";');
    expect(deadFileProblems([entry, a, b, c, dead], "process/cli.ts")).toEqual(["src/app/dead.ts: nothing imports it"]);
  });
});

describe("sizes", () => {
  const body = (lines: number) => "  f();\n".repeat(lines);
  const f = "declare const f: () => void;\n";

  test.each([
    ["a function", (n: number) => `${f}function long() {\n${body(n - 2)}}\n`],
    ["a method", (n: number) => `${f}class A {\nlong() {\n${body(n - 2)}}\n}\n`],
    ["an arrow function", (n: number) => `${f}const long = () => {\n${body(n - 2)}};\n`],
  ])("%s of 71 lines", (_, make) => {
    expect(longFunctionProblems(file("app/a.ts", make(70)))).toEqual([]);
    expect(longFunctionProblems(file("app/a.ts", make(71)))[0]).toContain("long has 71 lines, at most 70");
  });

  test("a file of 401 lines", () => {
    const lines = (n: number) => readFacts(`${f}${"f();\n".repeat(n - 1)}`);
    expect(longFileProblems("test/a.test.ts", lines(400))).toEqual([]);
    expect(longFileProblems("test/a.test.ts", lines(401))).toEqual(["test/a.test.ts: 401 lines, at most 400"]);
  });
});

describe("banned calls", () => {
  test.each([
    ["app/a.ts", "const t = Date.now();", "Clock.nowMs"],
    ["redis/a.ts", "const t = new Date();", "Clock.nowMs"],
    ["app/a.ts", "const t = performance.now();", "Clock.monotonicMs"],
    ["domain/a.ts", "const r = Math.random();", "randomness"],
    ["domain/a.ts", 'import { randomUUID } from "node:crypto";', "randomness"],
    ["app/a.ts", "setTimeout(() => {}, 1);", "Clock.sleep"],
    ["postgres/a.ts", 'const u = process.env["DATABASE_URL"];', "process/config"],
    ["process/a.ts", "const u = process.env;", "process/config"],
    ["stripe-simulator/a.ts", 'console.log("x");', "Logger"],
  ])("%s: %s", (path, text, instead) => {
    const problems = banProblems(file(path, text));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(instead);
  });

  test.each([
    ["app/a.ts", "const t = new Date(0); const s = 'Date.now()'; // Date.now()"],
    ["process/a.ts", "const t = Date.now() + Math.random();"],
    ["process/config/environment.ts", "export const e = process.env;"],
    ["webhook/a.ts", "setTimeout(() => {}, 1);"],
  ])("%s may: %s", (path, text) => expect(banProblems(file(path, text))).toEqual([]));
});

test("what was left undone is found in comments, not in strings", () => {
  const mark = "TO" + "DO";
  expect(commentProblems("src/a.ts", readFacts(`// ${mark}: later\n/* FIX${"ME"} */`))).toHaveLength(2);
  expect(commentProblems("src/a.ts", readFacts(`/** @ts-${"ignore"} */`))).toHaveLength(1);
  expect(commentProblems("src/a.ts", readFacts(`const a = "// ${mark}"; const b = \`/* ${mark} */\`;`))).toEqual([]);
});

describe("statements and scripts", () => {
  const loads = new Map([
    ["postgres/ledger.ts", 'const A = sqlFile("a");'],
    ["redis/scripts.ts", '"./scripts/b.lua"'],
  ]);

  test.each([
    ["postgres/queries/a.sql", "SELECT 1;\n", "does not open with a comment"],
    ["postgres/queries/a.sql", "-- $1 shard.\nSELECT $1, $2;\n", "does not name $2"],
    ["postgres/queries/a.sql", "-- $10 shard.\nSELECT $1;\n", "does not name $1"],
    ["postgres/queries/c.sql", "-- Nothing.\nSELECT 1;\n", "nothing loads it"],
    ["redis/scripts/b.lua", "-- KEYS[1] stream.\nreturn KEYS[1] .. ARGV[1]\n", "does not name ARGV[1]"],
    ["redis/queries/a.sql", "-- Of another room.\nSELECT 1;\n", "nothing loads it"],
  ])("%s: %j", (path, text, problem) => {
    const problems = scriptProblems({ path, text }, loads);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  test.each([
    ["postgres/queries/a.sql", "-- $1 shard.\nSELECT $1; -- not $2\n"],
    ["postgres/queries/a.sql", "-- $1 to $3 shards.\nSELECT $1, $2, $3;\n"],
    ["postgres/queries/a.sql", "-- $1..$3 shards.\nSELECT $1, $2, $3;\n"],
    ["postgres/migrations/0001_a.sql", "-- The ledger.\nSELECT 1;\n"],
    ["redis/scripts/b.lua", "-- KEYS[1] stream.\nreturn KEYS[1]\n"],
  ])("%s may: %j", (path, text) => expect(scriptProblems({ path, text }, loads)).toEqual([]));
});

// The rules of the house that no other tool holds. Each is a function from what is there to the problems found.
import { dirname, join } from "node:path/posix";
import type { Import, SourceFacts } from "./source-facts.ts";

/** A file below src/, its path from there: "app/drain.ts". */
export interface SourceFile {
  readonly path: string;
  readonly facts: SourceFacts;
}

/** A statement or script: its path from src/, and its text. */
export interface ScriptFile {
  readonly path: string;
  readonly text: string;
}

const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 400;

const ADAPTERS = ["redis", "postgres", "stripe", "rpc", "webhook"];

/** Rooms that a room may import, itself aside. A room that is missing here may not exist. */
const ROOMS = new Map<string, readonly string[]>([
  ["domain", []],
  ["app", ["domain"]],
  ...ADAPTERS.map((room) => [room, ["app", "domain"]] as const),
  ["process", [...ADAPTERS, "app", "domain", "stripe-simulator"]],
  ["stripe-simulator", []],
  // Runs in the browser: it knows the contract, and nothing of the service behind it.
  ["dashboard", []],
]);

/** Where each library, or family of libraries, may be imported. Generated code counts as one. One that is missing here may be nowhere. */
const LIBRARIES = new Map<string, readonly string[]>([
  ["gen", ["rpc", "dashboard"]],
  ["@bufbuild/protobuf", ["rpc", "dashboard"]],
  ["@connectrpc/connect-web", ["dashboard"]],
  ["@connectrpc/connect", ["rpc", "dashboard"]],
  ["@connectrpc/connect-node", ["rpc"]],
  ["uplot", ["dashboard"]],
  ["@grpc", ["rpc"]],
  ["grpc-health-check", ["rpc"]],
  ["jose", ["rpc"]],
  ["pg", ["postgres"]],
  ["ioredis", ["redis"]],
  ["stripe", ["stripe"]],
  ["express", ["webhook"]],
  ["temporal-polyfill", ["domain"]],
  ["commander", ["process"]],
  ["pino", ["process"]],
  ["@opentelemetry", ["process"]],
  ["prom-client", ["process"]],
  ["zod", ["process", "webhook", "stripe-simulator"]],
]);

/** Modules of Node that do no input or output: all that the core may use. */
const PURE_NODE_MODULES = ["node:crypto"];

interface Ban {
  readonly uses: readonly string[];
  readonly instead: string;
  readonly allowed: (path: string) => boolean;
}

const inRoom =
  (...rooms: string[]) =>
  (path: string) =>
    rooms.includes(roomOf(path));

const BANS: readonly Ban[] = [
  {
    uses: ["Date.now", "new Date()"],
    instead: "Clock.nowMs",
    allowed: inRoom("process", "stripe-simulator", "dashboard"),
  },
  { uses: ["performance.now"], instead: "Clock.monotonicMs", allowed: inRoom("process", "stripe-simulator") },
  {
    uses: ["Math.random", "node:crypto.randomUUID", "node:crypto.randomBytes", "node:crypto.randomInt"],
    instead: "randomness that is passed in",
    allowed: inRoom("process", "stripe-simulator", "dashboard"),
  },
  {
    uses: ["setTimeout()", "setInterval()"],
    instead: "Clock.sleep",
    allowed: (path) => !inRoom("app", "domain")(path),
  },
  {
    uses: ["process.env"],
    instead: "a Config, read by process/config",
    allowed: (path) => path === "process/config/environment.ts",
  },
  {
    uses: ["console.log", "console.error", "console.warn", "console.info", "console.debug"],
    instead: "the Logger that is passed in, or process.stdout for what a command prints",
    allowed: () => false,
  },
];

/** Imports run one way, and each library stays in its room. */
export function importProblems({ path, facts }: SourceFile): string[] {
  const room = roomOf(path);
  const allowed = ROOMS.get(room);
  if (allowed === undefined) return [`src/${path}: there is no room called ${room}`];
  return facts.imports.flatMap(({ specifier, line }) => {
    const where = `src/${path}:${line}`;
    if (specifier.startsWith("node:")) {
      const isPure = room === "domain" || room === "app" || room === "dashboard";
      return isPure && !PURE_NODE_MODULES.includes(specifier) ? [`${where}: ${room} may not import ${specifier}`] : [];
    }
    const target = targetOf(path, specifier);
    if (target?.startsWith("src/")) {
      const other = roomOf(target.slice("src/".length));
      return other === room || allowed.includes(other) ? [] : [`${where}: ${room} may not import ${other}`];
    }
    const library = target === undefined ? packageOf(specifier) : target.split("/")[0];
    const rooms = [...LIBRARIES].find(([name]) => library === name || library?.startsWith(`${name}/`))?.[1];
    return rooms?.includes(room) ? [] : [`${where}: ${room} may not import ${specifier}`];
  });
}

/** Every cycle of imports, by its files. Imports of types are gone when the program runs, and are let be. */
export function cycleProblems(files: readonly SourceFile[]): string[] {
  const graph = importGraph(files, ({ typeOnly }) => !typeOnly);
  const done = new Set<string>();
  const problems: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) problems.push(`imports go round: ${[...trail.slice(at), path].join(" -> ")}`);
    if (at >= 0 || done.has(path)) return;
    for (const next of graph.get(path) ?? []) walk(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) walk(path, []);
  return problems;
}

/** Files that nothing reachable from `entry` imports. */
export function deadFileProblems(files: readonly SourceFile[], entry: string): string[] {
  const graph = importGraph(files, () => true);
  const alive = new Set<string>();
  const waiting = [entry];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (alive.has(path)) continue;
    alive.add(path);
    waiting.push(...(graph.get(path) ?? []));
  }
  return [...graph.keys()].filter((path) => !alive.has(path)).map((path) => `src/${path}: nothing imports it`);
}

export function longFunctionProblems({ path, facts }: SourceFile): string[] {
  return facts.functions
    .filter(({ lines }) => lines > FUNCTION_LINES_MAX)
    .map(({ name, line, lines }) => `src/${path}:${line}: ${name} has ${lines} lines, at most ${FUNCTION_LINES_MAX}`);
}

/** Of tests too, whose functions may be long: a `describe` is one. `path` from the root. */
export function longFileProblems(path: string, { lineCount }: SourceFacts): string[] {
  return lineCount > FILE_LINES_MAX ? [`${path}: ${lineCount} lines, at most ${FILE_LINES_MAX}`] : [];
}

/** Calls that a room must not make, with what to use instead. */
export function banProblems({ path, facts }: SourceFile): string[] {
  return facts.uses.flatMap(({ name, line }) => {
    const ban = BANS.find(({ uses }) => uses.includes(name));
    return ban === undefined || ban.allowed(path) ? [] : [`src/${path}:${line}: not ${name} here, but ${ban.instead}`];
  });
}

/** Work left undone, and checks switched off. `path` from the root. */
export function commentProblems(path: string, facts: SourceFacts): string[] {
  return facts.comments.flatMap(({ text, line }) => {
    const found = /\b(TODO|FIXME|XXX|HACK)\b|@ts-(ignore|expect-error|nocheck)/.exec(text);
    return found === null ? [] : [`${path}:${line}: ${found[0]}`];
  });
}

/** A statement or script opens with a comment that names each of its parameters, and something loads it. */
export function scriptProblems({ path, text }: ScriptFile, sources: ReadonlyMap<string, string>): string[] {
  const problems: string[] = [];
  const header = /^(--.*\n)+/.exec(text)?.[0] ?? "";
  if (header === "") problems.push(`src/${path}: does not open with a comment`);
  const body = text.replaceAll(/--.*/g, "");
  const parameters = new Set(body.match(path.endsWith(".sql") ? /\$\d+/g : /\b(KEYS|ARGV)\[\d+\]/g) ?? []);
  const named = parametersIn(header);
  for (const parameter of parameters)
    if (!named.has(parameter)) problems.push(`src/${path}: its opening comment does not name ${parameter}`);
  const room = roomOf(path);
  const [name = ""] = path.split("/").slice(-1);
  const stem = name.replace(/\.(sql|lua)$/, "");
  // Migrations are loaded as a folder.
  const isLoaded =
    path.includes("/migrations/") ||
    [...sources].some(
      ([source, code]) => roomOf(source) === room && (code.includes(`"${stem}"`) || code.includes(name)),
    );
  if (!isLoaded) problems.push(`src/${path}: nothing loads it`);
  return problems;
}

/** Those that a header names, one by one, as "$3 to $6", or as "$3..$6". */
function parametersIn(header: string): ReadonlySet<string> {
  const named = new Set<string>(header.match(/\$\d+|\b(KEYS|ARGV)\[\d+\]/g));
  for (const [, first, last] of header.matchAll(/\$(\d+)(?: to |\.\.)\$(\d+)/g))
    for (let n = Number(first); n <= Number(last); n += 1) named.add(`$${n}`);
  return named;
}

function importGraph(
  files: readonly SourceFile[],
  counts: (found: Import) => boolean,
): ReadonlyMap<string, readonly string[]> {
  return new Map(
    files.map(({ path, facts }) => [
      path,
      facts.imports.filter(counts).flatMap(({ specifier }) => {
        const target = targetOf(path, specifier);
        return target?.startsWith("src/") ? [target.slice("src/".length)] : [];
      }),
    ]),
  );
}

/** Path from the root of what a relative import leads to; undefined for packages. */
function targetOf(path: string, specifier: string): string | undefined {
  return specifier.startsWith(".") ? join("src", dirname(path), specifier) : undefined;
}

function packageOf(specifier: string): string {
  const [first = "", second = ""] = specifier.split("/");
  return first.startsWith("@") ? `${first}/${second}` : first;
}

function roomOf(path: string): string {
  return path.split("/")[0] ?? "";
}

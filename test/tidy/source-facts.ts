// What the tidy rules ask about a source file, read from its syntax tree.
import { parseAst } from "vitest/node";

export interface Located {
  /** 1-based. */
  readonly line: number;
}

export interface Import extends Located {
  readonly specifier: string;
  /** Nothing of it is left when the program runs. */
  readonly typeOnly: boolean;
}

export interface FunctionSpan extends Located {
  readonly name: string;
  readonly lines: number;
}

export interface Use extends Located {
  /** As written where a rule may name it: "Date.now", "new Date()", "console", "process.env", "setTimeout". */
  readonly name: string;
}

export interface SourceFacts {
  readonly lineCount: number;
  /** Static, dynamic, re-exports and types alike. */
  readonly imports: readonly Import[];
  readonly functions: readonly FunctionSpan[];
  /** Globals and their members, and named imports of node modules ("node:crypto.randomUUID"). */
  readonly uses: readonly Use[];
  /** Text of every comment. */
  readonly comments: readonly (Located & { readonly text: string })[];
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

const FUNCTIONS = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);
const IMPORTS = new Set(["ImportDeclaration", "ExportNamedDeclaration", "ExportAllDeclaration", "ImportExpression"]);

/** Reads TypeScript text. Throws where it does not parse. */
export function readFacts(text: string): SourceFacts {
  const lineOf = lineFinder(text);
  const imports: Import[] = [];
  const functions: FunctionSpan[] = [];
  const uses: Use[] = [];
  const strings: { start: number; end: number }[] = [];
  visit(parseAst(text, { lang: "ts" }), undefined, (node, parent) => {
    const line = lineOf(node.start);
    if (node.type === "Literal" || node.type === "TemplateElement") strings.push(node);
    if (IMPORTS.has(node.type)) {
      const specifier = isNode(node["source"]) ? node["source"]["value"] : undefined;
      if (typeof specifier === "string") imports.push({ specifier, typeOnly: isTypeOnly(node), line });
      uses.push(...namedImports(node, specifier, line));
    }
    if (FUNCTIONS.has(node.type))
      functions.push({ name: nameOf(node, parent), line, lines: lineOf(node.end) - line + 1 });
    const name = usedName(node);
    if (name !== undefined) uses.push({ name, line });
  });
  return {
    lineCount: lineOf(text.trimEnd().length),
    imports,
    functions,
    uses,
    comments: comments(text, strings, lineOf),
  };
}

function visit(node: unknown, parent: Node | undefined, see: (node: Node, parent: Node | undefined) => void): void {
  if (Array.isArray(node)) {
    for (const element of node) visit(element, parent, see);
  } else if (isNode(node)) {
    see(node, parent);
    for (const value of Object.values(node)) if (typeof value === "object") visit(value, node, see);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

function isTypeOnly(node: Node): boolean {
  if (node["importKind"] === "type" || node["exportKind"] === "type") return true;
  const specifiers = node["specifiers"];
  if (!Array.isArray(specifiers) || specifiers.length === 0) return false;
  return specifiers.every((one: Node) => one["importKind"] === "type" || one["exportKind"] === "type");
}

function nameOf(node: Node, parent: Node | undefined): string {
  for (const holder of [node["id"], parent?.["key"], parent?.["id"]])
    if (isNode(holder) && typeof holder["name"] === "string") return holder["name"];
  return "(anonymous)";
}

function usedName(node: Node): string | undefined {
  if (node.type === "MemberExpression") {
    const { object, property } = node as unknown as { object: Node; property: Node };
    return object.type === "Identifier" ? `${object["name"]}.${property["name"] ?? property["value"]}` : undefined;
  }
  const callee = node["callee"];
  if (!isNode(callee) || callee.type !== "Identifier") return undefined;
  if (node.type === "CallExpression") return `${callee["name"]}()`;
  const isBare = node.type === "NewExpression" && Array.isArray(node["arguments"]) && node["arguments"].length === 0;
  return isBare ? `new ${callee["name"]}()` : undefined;
}

function namedImports(node: Node, specifier: unknown, line: number): Use[] {
  if (typeof specifier !== "string" || !specifier.startsWith("node:") || !Array.isArray(node["specifiers"])) return [];
  return node["specifiers"].flatMap((one: Node) => {
    const { imported } = one as unknown as { imported?: Node };
    return imported === undefined ? [] : [{ name: `${specifier}.${imported["name"]}`, line }];
  });
}

/** Every stretch of comment that does not lie inside a string; regular expressions with slashes in a class do not occur. */
function comments(
  text: string,
  strings: readonly { start: number; end: number }[],
  lineOf: (offset: number) => number,
): SourceFacts["comments"] {
  const inString = (offset: number) => strings.some(({ start, end }) => offset >= start && offset < end);
  return [...text.matchAll(/\/\/.*|\/\*[\s\S]*?\*\//g)]
    .filter((match) => !inString(match.index))
    .map((match) => ({ text: match[0], line: lineOf(match.index) }));
}

function lineFinder(text: string): (offset: number) => number {
  const starts = [0, ...[...text.matchAll(/\n/g)].map((match) => match.index + 1)];
  return (offset) => starts.findLastIndex((start) => start <= offset) + 1;
}

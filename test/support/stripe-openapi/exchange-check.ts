// Checks one exchange with the simulator against Stripe's OpenAPI document: the request, and the answer.
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import formats from "ajv-formats";
import qs from "qs";
import type { RecordedExchange } from "../../../src/stripe-simulator/server.ts";
import type { OpenApiDocument, Operation, Schema } from "./document.ts";
import { definitionsOf, translated } from "./json-schema.ts";

/** Finds what is wrong with an exchange; nothing wrong, no lines. */
export type ExchangeCheck = (exchange: RecordedExchange) => string[];

/** A request that does not fit the document is rightly answered with one of these. */
const REFUSALS = new Set([400, 401, 404, 413]);

/**
 * - A request that the simulator carries out, or fails for another reason, must be one that the document knows: its parameters in
 *   the query or the body, forms decoded and their numbers and booleans read as such. One that does not fit must be refused.
 * - An answer must be what the document says of its status; a snapshot event's object must fit the schema of its kind.
 * - An answer from in front of Stripe (HTML), and one cut off, are none of Stripe's.
 */
export function exchangeCheck(document: OpenApiDocument): ExchangeCheck {
  const $defs = definitionsOf(document);
  const findOperation = operationFinder(document);
  const asText = compiler(document, $defs, true);
  const asJson = compiler(document, $defs, false);
  return (exchange) => {
    const { method, path } = exchange;
    const found = findOperation(method, path);
    const problems = [
      ...requestProblems(exchange, found, { asText, asJson }),
      ...(exchange.isWhole && exchange.contentType.startsWith("application/json")
        ? answerProblems(exchange, found, asJson, document)
        : []),
    ];
    return problems.map((problem) => `${method} ${path} (${exchange.status}): ${problem}`);
  };
}

type Compile = (name: string, schema: Schema) => ValidateFunction;

function compiler(document: OpenApiDocument, $defs: object, coerces: boolean): Compile {
  const ajv = new Ajv({ allErrors: true, strict: false, coerceTypes: coerces });
  formats.default(ajv);
  // "decimal" is text; "unix-time" a whole second since the epoch, up to the year 9999.
  ajv.addFormat("decimal", /^-?\d+(\.\d+)?$/);
  ajv.addFormat("unix-time", { type: "number", validate: (value) => value >= 0 && value < 253_402_300_800 });
  ajv.addSchema({ $id: "stripe", $defs });
  const compiled = new Map<string, ValidateFunction>();
  return (name, schema) => {
    const known = compiled.get(name);
    if (known !== undefined) return known;
    const text = JSON.stringify(translated(schema, document)).replaceAll('"#/$defs/', '"stripe#/$defs/');
    const validate = ajv.compile(JSON.parse(text));
    compiled.set(name, validate);
    return validate;
  };
}

/** Finds the operation of a method and path: literal paths first, as /v1/customers/search before /v1/customers/{id}. */
function operationFinder(document: OpenApiDocument): (method: string, path: string) => Operation | undefined {
  const patterns = Object.entries(document.paths)
    .map(([path, operations]) => ({ segments: path.split("/"), operations }))
    .sort((a, b) => wildcards(a.segments) - wildcards(b.segments));
  return (method, path) => {
    const parts = path.split("/");
    const found = patterns.find(
      ({ segments }) =>
        segments.length === parts.length && segments.every((s, i) => s.startsWith("{") || s === parts[i]),
    );
    return found?.operations[method.toLowerCase()];
  };
}

function wildcards(segments: readonly string[]): number {
  return segments.filter((segment) => segment.startsWith("{")).length;
}

/** Queries and forms are text, in which "5" may be a number; in JSON it is not. */
interface Compilers {
  readonly asText: Compile;
  readonly asJson: Compile;
}

function requestProblems(
  exchange: RecordedExchange,
  operation: Operation | undefined,
  { asText, asJson }: Compilers,
): string[] {
  if (!exchange.isRequestWhole || REFUSALS.has(exchange.status ?? 0)) return [];
  if (operation === undefined) return ["Stripe has no such route, and it was not refused"];
  const { operationId } = operation;
  const [bodyType, body] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  const inQuery = (operation.parameters ?? []).filter((one) => one.in === "query");
  // A v2 list leads on by a URL, whose `page` is the list's own affair.
  const own = exchange.path.startsWith("/v2/") && exchange.method === "GET" ? { page: {} } : {};
  const querySchema: Schema = {
    type: "object",
    properties: { ...Object.fromEntries(inQuery.map(({ name, schema }) => [name, schema])), ...own },
    required: inQuery.filter(({ required }) => required).map(({ name }) => name),
    additionalProperties: false,
  };
  // A DELETE's parameters may stand in its body as well.
  const queryText = [exchange.query, body === undefined ? exchange.requestBody : ""].filter((t) => t !== "").join("&");
  const validateQuery = asText(`${operationId} query`, querySchema);
  const problems = problemsOf("query", validateQuery, decodeForm(queryText));
  if (body === undefined) return problems;
  if (exchange.requestBody === "" && operation.requestBody?.required !== true) return problems;
  const sentType = exchange.requestHeaders["content-type"] ?? "";
  if (!sentType.startsWith(bodyType ?? "")) problems.push(`the body is ${sentType}, not ${bodyType}`);
  const name = `${operationId} body`;
  const isJson = bodyType === "application/json";
  const validateBody = isJson ? asJson(name, body.schema) : asText(name, body.schema);
  const sent = isJson ? JSON.parse(exchange.requestBody) : decodeForm(exchange.requestBody);
  return [...problems, ...problemsOf("body", validateBody, sent)];
}

/** Read by another decoder than the simulator's own. */
function decodeForm(text: string): unknown {
  return qs.parse(text, { depth: 10, arrayLimit: 1_000, parameterLimit: 10_000, plainObjects: false });
}

function answerProblems(
  exchange: RecordedExchange,
  operation: Operation | undefined,
  compile: Compile,
  document: OpenApiDocument,
): string[] {
  const status = exchange.status ?? 0;
  const answer: unknown = JSON.parse(exchange.answerBody);
  if (operation === undefined) {
    const error = exchange.path.startsWith("/v2/") ? "v2.error" : "error";
    return problemsOf("answer", compile(error, { $ref: `#/components/schemas/${error}` }), answer);
  }
  const response = operation.responses[String(status)] ?? operation.responses["default"];
  const schema = response?.content?.["application/json"]?.schema ?? {};
  const name = `${operation.operationId} ${operation.responses[String(status)] === undefined ? "default" : status}`;
  return [
    ...problemsOf("answer", compile(name, schema), answer),
    ...codeProblems(operation, status, answer),
    ...snapshotProblems(answer, compile, document),
  ];
}

/** v2: a code that the document knows comes with its own status. */
function codeProblems(operation: Operation, status: number, answer: unknown): string[] {
  const code = (answer as { error?: { code?: string } } | null)?.error?.code ?? "";
  const known = Object.entries(operation["x-error-codes"] ?? {}).find(([, codes]) => codes.includes(code));
  return known === undefined || known[0] === String(status) ? [] : [`${code} comes with ${known[0]}, not ${status}`];
}

/** The objects inside snapshot events, alone or in a list. */
function snapshotProblems(answer: unknown, compile: Compile, document: OpenApiDocument): string[] {
  const one = answer as { object?: string; data?: unknown };
  if (one?.object === "list" && Array.isArray(one.data)) {
    return one.data.flatMap((item) => snapshotProblems(item, compile, document));
  }
  if (one?.object !== "event") return [];
  const { object } = (one as { data: { object: { object?: string } } }).data;
  const kind = String(object.object);
  if (!(kind in document.components.schemas)) return [`an event about ${kind}, which has no schema`];
  const validate = compile(kind, { $ref: `#/components/schemas/${kind}` });
  return problemsOf(`event ${(one as { type: string }).type}`, validate, object);
}

function problemsOf(part: string, validate: ValidateFunction, value: unknown): string[] {
  if (validate(value)) return [];
  const errors = validate.errors ?? [];
  // A failed choice repeats what its branches said; the branches say it better, unless there is nothing else.
  const telling = errors.filter(({ keyword }) => keyword !== "anyOf" && keyword !== "oneOf");
  return [...new Set((telling.length > 0 ? telling : errors).map((error) => `${part}${described(error)}`))];
}

function described({ instancePath, message, params }: ErrorObject): string {
  const detail = params["additionalProperty"] ?? params["allowedValues"];
  return `${instancePath} ${message}${detail === undefined ? "" : ` ${JSON.stringify(detail)}`}`;
}

// From OpenAPI 3.0's dialect to the JSON Schema that the validator knows, with what the document left open closed where it can be.
import type { OpenApiDocument, Schema } from "./document.ts";

/** Objects that the document leaves out as `x-pruned: list`: the schema and property that hold them, and what they list. */
const LISTS = [
  { owner: "invoice", property: "lines", item: "line_item" },
  { owner: "subscription", property: "items", item: "subscription_item" },
] as const;

/** Keywords that constrain; descriptions and extensions are left behind. */
const PLAIN_KEYWORDS = ["enum", "format", "maxItems", "maxLength", "required", "type"];
const SCHEMA_KEYWORDS = ["additionalProperties", "allOf", "anyOf", "items", "oneOf"];

/** Every component schema of the document, translated, by name. */
export function definitionsOf(document: OpenApiDocument): { readonly [name: string]: unknown } {
  const { schemas } = document.components;
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [name, translated(withLists(name, schema), document)]),
  );
}

/**
 * - `nullable` becomes a choice of null, wherever it stands: beside a type, an enum, anyOf, allOf.
 * - An object with named properties has no others, unless it says so. The parts of an allOf are one object.
 * - An expandable object is the schema that it names.
 */
export function translated(schema: unknown, document: OpenApiDocument): unknown {
  if (Array.isArray(schema)) return schema.map((part) => translated(part, document));
  if (typeof schema !== "object" || schema === null) return schema;
  const found = schema as Schema;
  const { $ref: reference, "x-expandable": expandable, allOf } = found;
  if (typeof reference === "string") return { $ref: reference.replace("#/components/schemas/", "#/$defs/") };
  if (typeof expandable === "string" && expandable in document.components.schemas) {
    return { $ref: `#/$defs/${expandable}` };
  }
  if (Array.isArray(allOf) && allOf.length > 1) return translated(merged(allOf, document), document);
  const result: Record<string, unknown> = {};
  for (const keyword of PLAIN_KEYWORDS) if (keyword in found) result[keyword] = found[keyword];
  for (const keyword of SCHEMA_KEYWORDS) if (keyword in found) result[keyword] = translated(found[keyword], document);
  const properties = found["properties"];
  if (typeof properties === "object" && properties !== null) {
    result["properties"] = Object.fromEntries(
      Object.entries(properties).map(([name, property]) => [name, translated(property, document)]),
    );
    result["additionalProperties"] ??= false;
  }
  return found["nullable"] === true ? { anyOf: [result, { type: "null" }] } : result;
}

/** One object of several parts. */
function merged(parts: readonly Schema[], document: OpenApiDocument): Schema {
  const properties: Record<string, unknown> = {};
  const required: unknown[] = [];
  for (const part of parts) {
    const name = String(part["$ref"] ?? "").replace("#/components/schemas/", "");
    const whole = document.components.schemas[name] ?? part;
    Object.assign(properties, whole["properties"]);
    required.push(...((whole["required"] as unknown[] | undefined) ?? []));
  }
  return { type: "object", properties, required };
}

function withLists(name: string, schema: Schema): Schema {
  const lists = LISTS.filter(({ owner }) => owner === name).map(({ property, item }) => [property, listOf(item)]);
  if (lists.length === 0) return schema;
  return { ...schema, properties: { ...(schema["properties"] as Schema), ...Object.fromEntries(lists) } };
}

function listOf(item: string): Schema {
  return {
    type: "object",
    required: ["object", "data", "has_more", "url"],
    properties: {
      object: { type: "string", enum: ["list"] },
      data: { type: "array", items: { $ref: `#/components/schemas/${item}` } },
      has_more: { type: "boolean" },
      total_count: { type: "integer" },
      url: { type: "string" },
    },
  };
}

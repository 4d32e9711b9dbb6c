// What the load generator sends: every record under an idempotency key of its own, made by patching a few bytes of a prebuilt message.
import { randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { RecordUsageRequestSchema } from "../gen/metering/v1/metering_service_pb.ts";

const API_KEYS_PER_CUSTOMER = 3;
const MODELS = ["openai/gpt-5", "anthropic/claude-sonnet-4-5"];
/** The first group of a UUID, which is what differs from record to record. */
const DIGITS = 8;
const HEX = Buffer.from("0123456789abcdef");
/** Tag of BatchRecordUsageRequest.requests: field 1, length-delimited. */
const REQUESTS_TAG = 0x0a;
/** Odd, so that multiplying by it visits every 32-bit number once; large, so that neighbours end up far apart. */
const SCATTER_KEY = 0x9e37_79b1;
const SCATTER_TEMPLATE = 0x85eb_ca6b;

interface Template {
  readonly bytes: Buffer;
  /** Where the digits are. */
  readonly digitsAt: number;
}

/**
 * Makes encoded requests. Keys are shaped like UUIDs and come in no order, as real ones do: a sequence would flatter every index. Distinct
 * among all sources, and within one for 2^32 records. Two measurements a record, over `customers` customers of three API keys each.
 */
export class RequestSource {
  readonly #templates: readonly Template[];
  #made = 0;

  /** `nowMs`: event time of every record. */
  constructor(customers: number, nowMs: number) {
    const run = randomUUID().slice(DIGITS);
    const count = customers * API_KEYS_PER_CUSTOMER;
    this.#templates = Array.from({ length: count }, (_, i) =>
      template(i, customers, `${"#".repeat(DIGITS)}${run}`, nowMs),
    );
  }

  /** RecordUsageRequest. */
  record(): Buffer {
    const { bytes, digitsAt } = this.#nextTemplate();
    const message = Buffer.allocUnsafe(bytes.length);
    bytes.copy(message);
    this.#writeDigits(message, digitsAt);
    return message;
  }

  /** BatchRecordUsageRequest of `size` records. */
  batch(size: number): Buffer {
    const templates = Array.from({ length: size }, (_, i) => this.#nextTemplate(i));
    const message = Buffer.allocUnsafe(
      templates.reduce((sum, { bytes }) => sum + 1 + varintBytes(bytes.length) + bytes.length, 0),
    );
    let at = 0;
    for (const { bytes, digitsAt } of templates) {
      message[at] = REQUESTS_TAG;
      at = writeVarint(message, at + 1, bytes.length);
      bytes.copy(message, at);
      this.#writeDigits(message, at + digitsAt);
      at += bytes.length;
    }
    return message;
  }

  #nextTemplate(ahead = 0): Template {
    const index = (Math.imul(this.#made + ahead, SCATTER_TEMPLATE) >>> 0) % this.#templates.length;
    return this.#templates[index] as Template;
  }

  #writeDigits(message: Buffer, at: number): void {
    let rest = Math.imul(this.#made, SCATTER_KEY);
    this.#made += 1;
    for (let i = 0; i < DIGITS; i += 1) {
      message[at + i] = HEX[rest & 0xf] as number;
      rest >>>= 4;
    }
  }
}

function template(index: number, customers: number, idempotencyKey: string, nowMs: number): Template {
  const customer = index % customers;
  const record = {
    idempotencyKey,
    customerId: `cus_bench_${String(customer).padStart(6, "0")}`,
    apiKeyId: `key_${customer}_${Math.floor(index / customers)}`,
    eventTime: timestampFromMs(nowMs),
    model: MODELS[index % MODELS.length] ?? "",
    measurements: [
      { meter: "input_tokens", quantity: BigInt(200 + ((index * 37) % 4_000)) },
      { meter: "output_tokens", quantity: BigInt(20 + ((index * 11) % 600)) },
    ],
  };
  const bytes = Buffer.from(toBinary(RecordUsageRequestSchema, create(RecordUsageRequestSchema, { record })));
  return { bytes, digitsAt: bytes.indexOf(idempotencyKey) };
}

function varintBytes(value: number): number {
  return value < 0x80 ? 1 : 2;
}

/** Up to 2^14 - 1. Returns where it ends. */
function writeVarint(bytes: Buffer, at: number, value: number): number {
  if (value < 0x80) {
    bytes[at] = value;
    return at + 1;
  }
  bytes[at] = (value & 0x7f) | 0x80;
  bytes[at + 1] = value >>> 7;
  return at + 2;
}

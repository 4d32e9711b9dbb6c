// One row a bound of the proto, over real gRPC: the code, the reason, and every field that is named.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Client, ServiceError } from "@grpc/grpc-js";
import { beforeEach, describe, expect, test } from "vitest";
import {
  type GetUsageRequestSchema,
  MeteringService,
  type StreamUsageRequestSchema,
} from "../../../gen/metering/v1/metering_service_pb.ts";
import {
  NamedPeriod,
  UsageDimension,
  type UsageRecordSchema,
  type WindowSize,
} from "../../../gen/metering/v1/usage_pb.ts";
import {
  callGrpc,
  fieldsOf,
  fromServiceError,
  fromStatus,
  grpcClient,
  openStream,
  type Refusal,
  reasonOf,
  refusalOf,
} from "./test-client.ts";
import { MemoryIntake, startTestService } from "./test-service.ts";

type Fields = MessageInitShape<typeof UsageRecordSchema>;
type Usage = MessageInitShape<typeof GetUsageRequestSchema>;
type Watch = MessageInitShape<typeof StreamUsageRequestSchema>;

const { recordUsage, batchRecordUsage, getUsage } = MeteringService.method;
const DAY_MS = 86_400_000;
const TRILLION = 1_000_000_000_000n;

let intake: MemoryIntake;
let client: Client;

beforeEach(async () => {
  intake = new MemoryIntake();
  client = grpcClient((await startTestService({ intake })).grpcAddress);
});

function valid(fields: Fields = {}): Fields {
  const measurements = [{ meter: "input_tokens", quantity: 1n }];
  return { idempotencyKey: "k", customerId: "c", measurements, ...fields };
}

function at(offsetMs: number): Timestamp {
  return timestampFromMs(Date.now() + offsetMs);
}

function labels(count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, ""]));
}

function measured(count: number) {
  const names = ["input_tokens", "output_tokens", "cached_input_tokens"];
  return Array.from({ length: count }, (_, i) => ({ meter: names[i % 3] ?? "", quantity: 1n }));
}

describe("RecordUsage refuses", () => {
  const rows: [what: string, record: Fields | undefined, reason: string, fields: string[]][] = [
    ["no record", undefined, "INVALID_RECORD", ["record"]],
    ["no key", valid({ idempotencyKey: "" }), "INVALID_RECORD", ["record.idempotency_key"]],
    ["a key of 129", valid({ idempotencyKey: "k".repeat(129) }), "INVALID_RECORD", ["record.idempotency_key"]],
    ["a key with a space", valid({ idempotencyKey: "a b" }), "INVALID_RECORD", ["record.idempotency_key"]],
    ["a key with an umlaut", valid({ idempotencyKey: "ä" }), "INVALID_RECORD", ["record.idempotency_key"]],
    ["a key with a line feed", valid({ idempotencyKey: "a\n" }), "INVALID_RECORD", ["record.idempotency_key"]],
    ["no customer", valid({ customerId: "" }), "INVALID_RECORD", ["record.customer_id"]],
    ["a customer of 129", valid({ customerId: "ü".repeat(129) }), "INVALID_RECORD", ["record.customer_id"]],
    ["a customer with NUL", valid({ customerId: "a\0" }), "INVALID_RECORD", ["record.customer_id"]],
    ["a customer with a C1 control", valid({ customerId: "a\u0085" }), "INVALID_RECORD", ["record.customer_id"]],
    ["an API key of 129", valid({ apiKeyId: "k".repeat(129) }), "INVALID_RECORD", ["record.api_key_id"]],
    ["an API key with NUL", valid({ apiKeyId: "\0" }), "INVALID_RECORD", ["record.api_key_id"]],
    ["a model of 129", valid({ model: "m".repeat(129) }), "INVALID_RECORD", ["record.model"]],
    ["a model with a tab", valid({ model: "a\tb" }), "INVALID_RECORD", ["record.model"]],
    ["36 days back", valid({ eventTime: at(-36 * DAY_MS) }), "EVENT_TIME_OUT_OF_RANGE", ["record.event_time"]],
    ["10 minutes ahead", valid({ eventTime: at(600_000) }), "EVENT_TIME_OUT_OF_RANGE", ["record.event_time"]],
    [
      "nanos out of range",
      valid({ eventTime: { ...at(0), nanos: 1_000_000_000 } }),
      "INVALID_RECORD",
      ["record.event_time.nanos"],
    ],
    ["negative nanos", valid({ eventTime: { ...at(0), nanos: -1 } }), "INVALID_RECORD", ["record.event_time.nanos"]],
    [
      "the largest time there is",
      valid({ eventTime: { seconds: 2n ** 63n - 1n, nanos: 0 } as Timestamp }),
      "EVENT_TIME_OUT_OF_RANGE",
      ["record.event_time"],
    ],
    ["no measurement", valid({ measurements: [] }), "INVALID_RECORD", ["record.measurements"]],
    [
      "17 measurements",
      valid({ measurements: measured(3).concat(Array(14).fill({ meter: "x", quantity: 1n })) }),
      "INVALID_RECORD",
      ["record.measurements", ...Array.from({ length: 13 }, (_, i) => `record.measurements[${i + 3}].meter`)],
    ],
    [
      "an unknown meter",
      valid({ measurements: [{ meter: "tokens", quantity: 1n }] }),
      "UNKNOWN_METER",
      ["record.measurements[0].meter"],
    ],
    ["an empty meter", valid({ measurements: [{ quantity: 1n }] }), "UNKNOWN_METER", ["record.measurements[0].meter"]],
    [
      "the meter that the service counts",
      valid({ measurements: [{ meter: "requests", quantity: 1n }] }),
      "UNKNOWN_METER",
      ["record.measurements[0].meter"],
    ],
    ["twice the same meter", valid({ measurements: measured(4) }), "INVALID_RECORD", ["record.measurements[3].meter"]],
    [
      "a negative quantity",
      valid({ measurements: [{ meter: "input_tokens", quantity: -1n }] }),
      "INVALID_RECORD",
      ["record.measurements[0].quantity"],
    ],
    [
      "a quantity over 10^12",
      valid({ measurements: [{ meter: "input_tokens", quantity: TRILLION + 1n }] }),
      "INVALID_RECORD",
      ["record.measurements[0].quantity"],
    ],
    ["17 labels", valid({ labels: labels(17) }), "INVALID_RECORD", ["record.labels"]],
    ["a label key in capitals", valid({ labels: { Team: "a" } }), "INVALID_RECORD", ['record.labels["Team"]']],
    ["an empty label key", valid({ labels: { "": "a" } }), "INVALID_RECORD", ['record.labels[""]']],
    [
      "a label key of 65",
      valid({ labels: { ["k".repeat(65)]: "" } }),
      "INVALID_RECORD",
      [`record.labels["${"k".repeat(32)}"]`],
    ],
    ["a label value of 257", valid({ labels: { team: "v".repeat(257) } }), "INVALID_RECORD", ['record.labels["team"]']],
    ["a label value with NUL", valid({ labels: { team: "\0" } }), "INVALID_RECORD", ['record.labels["team"]']],
  ];

  test.each(rows)("%s", async (_, record, reason, fields) => {
    const refusal = refusalOf(await callGrpc(client, recordUsage, record === undefined ? {} : { record }));
    expect({ code: refusal.code, reason: reasonOf(refusal), fields: fieldsOf(refusal) }).toEqual({
      code: "INVALID_ARGUMENT",
      reason,
      fields,
    });
    expect(refusal.message).toContain(fields[0]);
    expect(intake.stored.size).toBe(0);
  });

  test("every violation of a record at once, under the first reason in order", async () => {
    const record = {
      idempotencyKey: "",
      customerId: "\0",
      apiKeyId: "k".repeat(129),
      model: "\0",
      eventTime: at(-40 * DAY_MS),
      measurements: [
        { meter: "nope", quantity: -1n },
        { meter: "input_tokens", quantity: TRILLION * 2n },
      ],
      labels: { BAD: "\0" },
    };
    const refusal = refusalOf(await callGrpc(client, recordUsage, { record }));
    expect(reasonOf(refusal)).toBe("INVALID_RECORD");
    expect(fieldsOf(refusal)).toEqual([
      "record.idempotency_key",
      "record.customer_id",
      "record.api_key_id",
      "record.model",
      "record.event_time",
      "record.measurements[0].meter",
      "record.measurements[0].quantity",
      "record.measurements[1].quantity",
      'record.labels["BAD"]',
      'record.labels["BAD"]',
    ]);
  });

  test("an unknown meter before a time out of range", async () => {
    const record = valid({ measurements: [{ meter: "nope", quantity: 1n }], eventTime: at(-36 * DAY_MS) });
    const refusal = refusalOf(await callGrpc(client, recordUsage, { record }));
    expect(reasonOf(refusal)).toBe("UNKNOWN_METER");
    expect(fieldsOf(refusal)).toEqual(["record.event_time", "record.measurements[0].meter"]);
  });
});

test.each([
  ["longest ids", valid({ idempotencyKey: "k".repeat(128), customerId: "😀".repeat(128), apiKeyId: "a".repeat(128) })],
  [
    "zero and the largest quantity",
    valid({
      measurements: [
        { meter: "input_tokens", quantity: 0n },
        { meter: "output_tokens", quantity: TRILLION },
      ],
    }),
  ],
  ["35 days back, less a minute", valid({ eventTime: at(-35 * DAY_MS + 60_000) })],
  ["4 minutes ahead", valid({ eventTime: at(240_000) })],
  ["16 labels, one of 256 characters", valid({ labels: { ...labels(15), team: "é".repeat(256) } })],
  ["a label called __proto__", valid({ labels: JSON.parse('{"__proto__":"x"}') })],
])("RecordUsage takes %s", async (_, record) => {
  expect(await callGrpc(client, recordUsage, { record })).toHaveProperty("ok");
  expect(intake.stored.size).toBe(1);
});

test("a label called __proto__ is stored like any other", async () => {
  await callGrpc(client, recordUsage, { record: valid({ labels: JSON.parse('{"__proto__":"x","a":"y"}') }) });
  expect([...intake.stored.values()][0]?.labels).toEqual([
    ["__proto__", "x"],
    ["a", "y"],
  ]);
});

describe("BatchRecordUsage", () => {
  test.each([0, 1001])("refuses %d items", async (count) => {
    const requests = Array.from({ length: count }, () => ({}));
    const refusal = refusalOf(await callGrpc(client, batchRecordUsage, { requests }));
    expect([refusal.code, reasonOf(refusal), fieldsOf(refusal)]).toEqual([
      "INVALID_ARGUMENT",
      "INVALID_REQUEST",
      ["requests"],
    ]);
  });

  test("ends each item alone, in order, with paths from the call's request", async () => {
    const requests = [
      { record: valid({ idempotencyKey: "a" }) },
      { record: valid({ idempotencyKey: "b", measurements: [{ meter: "input_tokens", quantity: -1n }] }) },
      { record: valid({ idempotencyKey: "a" }) },
      { record: valid({ idempotencyKey: "a", model: "other" }) },
      {},
    ];
    const outcome = await callGrpc(client, batchRecordUsage, { requests });
    if (!("ok" in outcome)) throw new Error(outcome.refusal.message);
    const results = outcome.ok.results.map(({ result }) => {
      if (result.case === "response") return result.value.outcome;
      if (result.case === undefined) return "nothing";
      const refusal = fromStatus(result.value);
      return [refusal.code, reasonOf(refusal), fieldsOf(refusal)];
    });
    expect(results).toEqual([
      1,
      ["INVALID_ARGUMENT", "INVALID_RECORD", ["requests[1].record.measurements[0].quantity"]],
      2,
      ["ALREADY_EXISTS", "IDEMPOTENCY_KEY_REUSED", []],
      ["INVALID_ARGUMENT", "INVALID_RECORD", ["requests[4].record"]],
    ]);
    expect(intake.stored.size).toBe(1);
  });

  test("takes 1000 items", async () => {
    const requests = Array.from({ length: 1000 }, (_, i) => ({ record: valid({ idempotencyKey: `k${i}` }) }));
    expect(await callGrpc(client, batchRecordUsage, { requests })).toHaveProperty("ok");
    expect(intake.stored.size).toBe(1000);
  });
});

const quarter = (n: number) => timestampFromMs(1_790_000_100_000 - (1_790_000_100_000 % 900_000) + n * 900_000);

describe("GetUsage refuses", () => {
  const over = (startTime?: Timestamp, endTime?: Timestamp): Usage => ({
    over: { case: "interval", value: { ...(startTime && { startTime }), ...(endTime && { endTime }) } },
  });
  const rows: [what: string, request: Usage, fields: string[], reason?: string][] = [
    ["no customer", { customerId: "" }, ["customer_id"]],
    ["a customer of 129", { customerId: "c".repeat(129) }, ["customer_id"]],
    ["a customer with NUL", { customerId: "\0" }, ["customer_id"]],
    ["an unknown period", { over: { case: "period", value: 99 as NamedPeriod } }, ["period"]],
    ["an interval without ends", over(), ["interval.start_time", "interval.end_time"]],
    [
      "a start off the quarter-hour",
      over({ ...quarter(0), seconds: quarter(0).seconds + 1n }, quarter(4)),
      ["interval.start_time"],
    ],
    ["an end with nanos", over(quarter(0), { ...quarter(4), nanos: 1 }), ["interval.end_time"]],
    ["an empty interval", over(quarter(0), quarter(0)), ["interval.end_time"]],
    ["an interval backwards", over(quarter(1), quarter(0)), ["interval.end_time"]],
    ["an interval over 400 days", over(quarter(0), quarter(400 * 96 + 1)), ["interval"]],
    ["a time before 1970", over({ ...quarter(0), seconds: -900n }, quarter(0)), ["interval.start_time"]],
    ["a time after 9999", over(quarter(0), { ...quarter(0), seconds: 900n * 2n ** 50n }), ["interval.end_time"]],
    ["a bad time zone", { timeZone: "Europe/Nowhere" }, ["time_zone"]],
    ["an offset for a time zone", { timeZone: "+01:00" }, ["time_zone"]],
    ["an API key of 129", { apiKeyId: "k".repeat(129) }, ["api_key_id"]],
    ["101 models", { models: Array(101).fill("m") }, ["models"]],
    ["a model of 129", { models: ["m", "m".repeat(129)] }, ["models[1]"]],
    ["101 meters", { meters: Array(101).fill("requests") }, ["meters"]],
    ["an unknown meter", { meters: ["requests", "nope"] }, ["meters[1]"], "UNKNOWN_METER"],
    ["an unknown window size", { windowSize: 99 as WindowSize }, ["window_size"]],
    ["a dimension unspecified", { groupBy: [UsageDimension.UNSPECIFIED] }, ["group_by[0]"]],
    ["an unknown dimension", { groupBy: [UsageDimension.MODEL, 99 as UsageDimension] }, ["group_by[1]"]],
    ["a dimension twice", { groupBy: [UsageDimension.MODEL, UsageDimension.MODEL] }, ["group_by[1]"]],
    ["a label that is not kept", { groupByLabels: ["colour"] }, ["group_by_labels[0]"]],
    ["a label twice", { groupByLabels: ["team", "team"] }, ["group_by_labels[1]"]],
    ["101 labels", { groupByLabels: Array(101).fill("team") }, ["group_by_labels"]],
    ["a negative page size", { pageSize: -1 }, ["page_size"]],
    ["an endless page token", { pageToken: "t".repeat(32_769) }, ["page_token"]],
    ["an endless consistency token", { consistencyToken: "t".repeat(32_769) }, ["consistency_token"]],
    ["several at once", { customerId: "", timeZone: "x/y", pageSize: -1 }, ["customer_id", "time_zone", "page_size"]],
  ];

  test.each(rows)("%s", async (_, request, fields, reason) => {
    const refusal = refusalOf(await callGrpc(client, getUsage, { customerId: "c", ...request }));
    expect({ code: refusal.code, reason: reasonOf(refusal), fields: fieldsOf(refusal) }).toEqual({
      code: "INVALID_ARGUMENT",
      reason: reason ?? "INVALID_REQUEST",
      fields,
    });
  });
});

describe("StreamUsage refuses", () => {
  const rows: [what: string, request: Watch, fields: string[], reason?: string][] = [
    ["a customer with NUL", { customerId: "\0" }, ["customer_id"]],
    ["an API key of 129", { apiKeyId: "k".repeat(129) }, ["api_key_id"]],
    ["an unknown meter", { meters: ["nope"] }, ["meters[0]"], "UNKNOWN_METER"],
    ["an unknown period", { period: 99 as NamedPeriod }, ["period"]],
    ["a dimension twice", { groupBy: [UsageDimension.API_KEY, UsageDimension.API_KEY] }, ["group_by[1]"]],
    ["updates under 50 ms", { minUpdateInterval: { nanos: 49_000_000 } }, ["min_update_interval"]],
    ["updates over 60 s", { minUpdateInterval: { seconds: 60n, nanos: 1_000_000 } }, ["min_update_interval"]],
    ["heartbeats under 1 s", { heartbeatInterval: { nanos: 999_000_000 } }, ["heartbeat_interval"]],
    ["heartbeats over 60 s", { heartbeatInterval: { seconds: 61n } }, ["heartbeat_interval"]],
    ["a negative interval", { heartbeatInterval: { seconds: -5n } }, ["heartbeat_interval"]],
    ["an endless resume token", { resumeToken: new Uint8Array(32_769) }, ["resume_token"]],
  ];

  test.each(rows)("%s", async (_, request, fields, reason) => {
    const refusal = await refusedStream({ customerId: "c", ...request });
    expect({ code: refusal.code, reason: reasonOf(refusal), fields: fieldsOf(refusal) }).toEqual({
      code: "INVALID_ARGUMENT",
      reason: reason ?? "INVALID_REQUEST",
      fields,
    });
  });

  test("all customers, without the scope, before anything else", async () => {
    const refusal = await refusedStream({ meters: ["nope"] });
    expect([refusal.code, reasonOf(refusal)]).toEqual(["PERMISSION_DENIED", "SCOPE_MISSING"]);
    expect(refusal.details[0]?.value).toMatchObject({ metadata: { scope: "usage.read_all" } });
  });

  test("all customers, with the scope: what cannot be asked of all", async () => {
    const { grpcAddress } = await startTestService({ mayReadAll: true });
    const request = { apiKeyId: "k", groupBy: [UsageDimension.MODEL], period: NamedPeriod.BILLING_PERIOD };
    const refusal = await refusedStream(request, grpcClient(grpcAddress));
    expect(fieldsOf(refusal)).toEqual(["api_key_id", "group_by", "period"]);
  });
});

function refusedStream(request: Watch, by: Client = client): Promise<Refusal> {
  const stream = openStream(by, request);
  stream.resume();
  return new Promise((resolve) => stream.on("error", (error: ServiceError) => resolve(fromServiceError(error))));
}

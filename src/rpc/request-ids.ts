// The ids of a call and in its request, for log lines. Ids, not payloads.
import type { Message } from "@bufbuild/protobuf";
import { isMessage } from "@bufbuild/protobuf";
import { VoidRecordRequestSchema } from "../../gen/metering/admin/v1/admin_service_pb.ts";
import {
  CreateKeyRequestSchema,
  DeleteKeyRequestSchema,
  GetKeyRequestSchema,
  ListKeysRequestSchema,
  UpdateKeyRequestSchema,
} from "../../gen/metering/admin/v1/key_service_pb.ts";
import {
  BatchRecordUsageRequestSchema,
  CheckLimitsRequestSchema,
  GetUsageRequestSchema,
  RecordUsageRequestSchema,
  StreamUsageRequestSchema,
} from "../../gen/metering/v1/metering_service_pb.ts";
import type { HeaderReader } from "./call.ts";

/** Carries the id of a call: a caller may give one, and a failed call is answered with one. */
export const REQUEST_ID_HEADER = "x-request-id";

/** What a caller may call its call. Anything else is not worth a log line. */
const REQUEST_ID = /^[\w.:/+=-]{1,128}$/;

/** The caller's id of the call, if it gave one that may stand in a log; else one that nobody else has. */
export function requestIdOf(header: HeaderReader, randomId: () => string): string {
  const given = header(REQUEST_ID_HEADER);
  return given !== undefined && REQUEST_ID.test(given) ? given : randomId();
}

/** As much of an id as a log line takes: whole where the id is valid. */
const ID_SHOWN = 128;

/** Empty where the request was never understood. */
export function idsOf(request: Message | undefined): Record<string, string | number> {
  if (isMessage(request, RecordUsageRequestSchema)) {
    const { record } = request;
    return record === undefined
      ? {}
      : { customerId: cut(record.customerId), idempotencyKey: cut(record.idempotencyKey) };
  }
  if (isMessage(request, BatchRecordUsageRequestSchema)) return { items: request.requests.length };
  if (isMessage(request, GetUsageRequestSchema) || isMessage(request, StreamUsageRequestSchema))
    return { customerId: cut(request.customerId) };
  if (isMessage(request, VoidRecordRequestSchema))
    return { customerId: cut(request.customerId), idempotencyKey: cut(request.idempotencyKey) };
  return keyIdsOf(request);
}

function keyIdsOf(request: Message | undefined): Record<string, string> {
  if (isMessage(request, CreateKeyRequestSchema) || isMessage(request, UpdateKeyRequestSchema)) {
    const { key } = request;
    return key === undefined ? {} : { customerId: cut(key.customerId), apiKeyId: cut(key.apiKeyId) };
  }
  const isKey = isMessage(request, GetKeyRequestSchema) || isMessage(request, DeleteKeyRequestSchema);
  if (isKey || isMessage(request, CheckLimitsRequestSchema))
    return { customerId: cut(request.customerId), apiKeyId: cut(request.apiKeyId) };
  return isMessage(request, ListKeysRequestSchema) ? { customerId: cut(request.customerId) } : {};
}

function cut(id: string): string {
  return id.slice(0, ID_SHOWN);
}

// Clients of the three transports, whose failures come out in one form, so that they can be compared.
import {
  create,
  createRegistry,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  toJson,
  toJsonString,
} from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-node";
import {
  type CallOptions,
  Client,
  type ClientReadableStream,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../../../gen/google/rpc/error_details_pb.ts";
import { type Status, StatusSchema } from "../../../gen/google/rpc/status_pb.ts";
import {
  MeteringService,
  type StreamUsageRequest,
  type StreamUsageRequestSchema,
  type StreamUsageResponse,
} from "../../../gen/metering/v1/metering_service_pb.ts";

const DETAILS = createRegistry(BadRequestSchema, ErrorInfoSchema, RequestInfoSchema, RetryInfoSchema);

/** A failure as the caller sees it. */
export interface Refusal {
  /** Canonical name, "INVALID_ARGUMENT". */
  readonly code: string;
  readonly message: string;
  readonly details: readonly { readonly type: string; readonly value: unknown }[];
}

/** The reason in the only ErrorInfo; undefined where there is not exactly one. */
export function reasonOf(refusal: Refusal): string | undefined {
  const [info, another] = refusal.details.filter((d) => d.type === ErrorInfoSchema.typeName);
  return info !== undefined && another === undefined ? (info.value as { reason: string }).reason : undefined;
}

/** Field paths of the violations, in order. */
export function fieldsOf(refusal: Refusal): readonly string[] {
  const bad = refusal.details.find((d) => d.type === BadRequestSchema.typeName)?.value;
  const { fieldViolations } = (bad ?? { fieldViolations: [] }) as { fieldViolations: { field?: string }[] };
  return fieldViolations.map((v) => v.field ?? "");
}

/** "1s"; undefined where no RetryInfo came. */
export function retryDelayOf(refusal: Refusal): string | undefined {
  const retry = refusal.details.find((d) => d.type === RetryInfoSchema.typeName)?.value;
  return (retry as { retryDelay?: string } | undefined)?.retryDelay;
}

/** What a call came to. */
export type Outcome<T> = { readonly ok: T } | { readonly refusal: Refusal };

export function refusalOf(outcome: Outcome<unknown>): Refusal {
  if ("refusal" in outcome) return outcome.refusal;
  throw new Error("the call was not refused");
}

/** A grpc-js client that is closed when the test ends. */
export function grpcClient(address: string): Client {
  const client = new Client(address, credentials.createInsecure());
  onTestFinished(() => client.close());
  return client;
}

export function callGrpc<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I> | Buffer,
  options: CallOptions = {},
  hangUp?: AbortSignal,
): Promise<Outcome<MessageShape<O>>> {
  const bytes = Buffer.isBuffer(request) ? request : Buffer.from(toBinary(method.input, create(method.input, request)));
  const path = `/${method.parent.typeName}/${method.name}`;
  return new Promise((resolve) => {
    const call = client.makeUnaryRequest(
      path,
      (b: Buffer) => b,
      (b) => fromBinary(method.output, b),
      bytes,
      new Metadata(),
      options,
      (error, answer) => resolve(error || answer === undefined ? { refusal: fromServiceError(error) } : { ok: answer }),
    );
    hangUp?.addEventListener("abort", () => call.cancel());
  });
}

/** Opens StreamUsage. */
export function openStream(
  client: Client,
  request: MessageInitShape<typeof StreamUsageRequestSchema> = { customerId: "c" },
): ClientReadableStream<StreamUsageResponse> {
  const { parent, name, input, output } = MeteringService.method.streamUsage;
  return client.makeServerStreamRequest(
    `/${parent.typeName}/${name}`,
    (message: StreamUsageRequest) => Buffer.from(toBinary(input, message)),
    (bytes) => fromBinary(output, bytes),
    create(input, request),
  );
}

export function fromServiceError(error: ServiceError | null): Refusal {
  if (error === null) throw new Error("neither an error nor an answer");
  const { code, details: message } = error;
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const sent = Buffer.isBuffer(bytes) ? fromBinary(StatusSchema, bytes) : create(StatusSchema, { code, message });
  if (sent.code !== code || sent.message !== message) throw new Error("the status and its details differ");
  return fromStatus(sent);
}

/** Of a batch's item. */
export function fromStatus(sent: Status): Refusal {
  return {
    code: status[sent.code] ?? String(sent.code),
    message: sent.message,
    details: sent.details.map((any) => {
      const message = anyUnpack(any, DETAILS);
      const desc = message && DETAILS.getMessage(message.$typeName);
      if (!message || !desc) throw new Error(`unknown detail ${any.typeUrl}`);
      return { type: message.$typeName, value: toJson(desc, message) };
    }),
  };
}

/** Connect over fetch, in JSON, as a browser or curl would. */
export async function callConnectJson<I extends DescMessage, O extends DescMessage>(
  url: string,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<Outcome<unknown>> {
  const response = await fetch(`${url}/${method.parent.typeName}/${method.name}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: toJsonString(method.input, create(method.input, request)),
  });
  const body: unknown = await response.json();
  return response.ok ? { ok: body } : { refusal: fromConnectJson(body) };
}

export function fromConnectJson(body: unknown): Refusal {
  const { code, message, details } = body as {
    code: string;
    message: string;
    details?: { type: string; value: string }[];
  };
  return {
    code: code.toUpperCase(),
    message,
    details: (details ?? []).map(({ type, value }) => decodeDetail(type, Buffer.from(value, "base64"))),
  };
}

/** A client over gRPC-Web, on HTTP/1.1. */
export function grpcWebClient(url: string) {
  return createClient(MeteringService, grpcWebTransport(url));
}

export function grpcWebTransport(url: string) {
  return createGrpcWebTransport({ baseUrl: url, httpVersion: "1.1" });
}

export async function outcomeOf<T>(answer: Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: await answer };
  } catch (error) {
    const { code, rawMessage, details } = ConnectError.from(error);
    const incoming = details.flatMap((d) => ("type" in d ? [decodeDetail(d.type, d.value)] : []));
    const name = (Code[code] ?? "").replace(/(?<=[a-z])[A-Z]/g, "_$&").toUpperCase();
    return { refusal: { code: name, message: rawMessage, details: incoming } };
  }
}

function decodeDetail(type: string, bytes: Uint8Array) {
  const desc = DETAILS.getMessage(type);
  if (desc === undefined) throw new Error(`unknown detail ${type}`);
  return { type, value: toJson(desc, fromBinary(desc, bytes)) };
}

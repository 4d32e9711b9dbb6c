// The measure of all ratios: what a handler on grpc-js costs that does nothing. The server is made as the service makes its own: the same
// definitions, out of the same descriptors, and the same options. A handler decodes its request, as any handler must, and encodes a fixed
// answer of the size that the service's has. Nothing is checked, stored, timed or counted, and there is no deadline.
// Prints its port as JSON. Ends on SIGTERM and SIGINT.
import { create, fromBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import {
  BatchRecordUsageRequestSchema,
  BatchRecordUsageResponseSchema,
  MeteringService,
  RecordOutcome,
  RecordUsageRequestSchema,
  RecordUsageResponseSchema,
} from "../gen/metering/v1/metering_service_pb.ts";
import { OpaqueTokens } from "../src/app/opaque-tokens.ts";
import { DEFAULT_GRPC_CONNECTION, MESSAGE_MAX_BYTES } from "../src/rpc/grpc-server.ts";
import { encodeMessage, grpcServiceDefinition } from "../src/rpc/grpc-service.ts";

type Handler = (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => void;

const consistencyToken = new OpaqueTokens("key").consistencyToken({
  shard: 7,
  epoch: "0f8fad5b-d9cb-469f-a165-70867728950e",
  entryId: "1767225600000-12345678",
});

function response() {
  return create(RecordUsageResponseSchema, { outcome: RecordOutcome.RECORDED, consistencyToken });
}

const recordUsage: Handler = (call, callback) => {
  fromBinary(RecordUsageRequestSchema, call.request);
  callback(null, encodeMessage(RecordUsageResponseSchema, oneAnswer));
};
const batchRecordUsage: Handler = (call, callback) => {
  const { requests } = fromBinary(BatchRecordUsageRequestSchema, call.request);
  const results = requests.length === batchAnswer.results.length ? batchAnswer.results : resultsOf(requests.length);
  batchAnswer.results = results;
  callback(null, encodeMessage(BatchRecordUsageResponseSchema, batchAnswer));
};

const oneAnswer = response();
const batchAnswer = create(BatchRecordUsageResponseSchema);

function resultsOf(count: number) {
  const results = Array.from({ length: count }, () => ({ result: { case: "response" as const, value: response() } }));
  return create(BatchRecordUsageResponseSchema, { results }).results;
}

const server = new Server({
  "grpc.max_receive_message_length": MESSAGE_MAX_BYTES,
  "grpc.max_concurrent_streams": DEFAULT_GRPC_CONNECTION.maxConcurrentStreams,
  "grpc.keepalive_time_ms": DEFAULT_GRPC_CONNECTION.keepaliveTimeMs,
  "grpc.keepalive_timeout_ms": DEFAULT_GRPC_CONNECTION.keepaliveTimeoutMs,
  "grpc.enable_channelz": 0,
});
server.addService(grpcServiceDefinition(MeteringService), { recordUsage, batchRecordUsage });
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`${JSON.stringify({ grpcPort: port })}\n`);
});
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => server.forceShutdown());

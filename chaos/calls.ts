// Calls as a backend makes them: gRPC's standard retry policy in a service config, all replicas behind one name.
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client, type ClientReadableStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import {
  MeteringService,
  type StreamUsageRequest,
  type StreamUsageRequestSchema,
  type StreamUsageResponse,
} from "../gen/metering/v1/metering_service_pb.ts";
import { CallFailure } from "../src/rpc/client.ts";

/** One call with its retries. */
const CALL_S = 10;

const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [{ service: MeteringService.typeName }],
      timeout: `${CALL_S}s`,
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

/** `targets`: host:port, comma-separated. Streams are opened without a deadline of their own. */
export function openClient(targets: string, retries: boolean): Client {
  return new Client(`ipv4:${targets}`, credentials.createInsecure(), {
    ...(retries ? { "grpc.service_config": JSON.stringify(SERVICE_CONFIG) } : { "grpc.enable_retries": 0 }),
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.keepalive_time_ms": 5_000,
    "grpc.keepalive_timeout_ms": 2_000,
    "grpc.use_local_subchannel_pool": 1,
  });
}

/** Rejects with CallFailure and nothing else. */
export function call<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<MessageShape<O>> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes: Buffer) => fromBinary(method.output, bytes),
      create(method.input, request),
      new Metadata(),
      { deadline: Date.now() + CALL_S * 1_000 },
      (error, answer) => {
        if (answer !== undefined) resolve(answer);
        else reject(toFailure(error));
      },
    );
  });
}

export function openStream(
  client: Client,
  request: MessageInitShape<typeof StreamUsageRequestSchema>,
): ClientReadableStream<StreamUsageResponse> {
  const { parent, name, input, output } = MeteringService.method.streamUsage;
  return client.makeServerStreamRequest(
    `/${parent.typeName}/${name}`,
    (message: StreamUsageRequest) => Buffer.from(toBinary(input, message)),
    (bytes) => fromBinary(output, bytes),
    create(input, request),
  );
}

export function toFailure(error: ServiceError | null): CallFailure {
  if (error === null) return new CallFailure(13, "neither an error nor an answer", []);
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const details = Buffer.isBuffer(bytes) ? fromBinary(StatusSchema, bytes).details : [];
  return new CallFailure(error.code, error.details, details);
}

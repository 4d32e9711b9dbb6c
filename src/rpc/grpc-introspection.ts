// What a gRPC server tells of itself: health (grpc.health.v1) and reflection (v1 and v1alpha), so that probes and grpcurl work.
import { type DescFile, type DescService, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import {
  status as Code,
  type Server,
  type ServerDuplexStream,
  type ServerWritableStream,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation, service as healthService } from "grpc-health-check";
import { file_google_rpc_error_details } from "../../gen/google/rpc/error_details_pb.ts";

type Stream = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;
type Watch = ServerWritableStream<{ service: string }, unknown>;

export interface IntrospectionOptions {
  /** Without it its RPCs are UNIMPLEMENTED. Default: true. */
  readonly reflection?: boolean | undefined;
  /** Most health watches and reflection streams open at once, some 15 KB each: they ask for no token. Default: 5,000. */
  readonly maxStreams?: number;
}

/** Health and reflection of one server. */
export class GrpcIntrospection {
  readonly #health = new HealthImplementation();
  readonly #streams = new Set<Stream>();
  readonly #services: readonly DescService[];
  readonly #maxStreams: number;
  #serving: boolean | undefined;

  /** Of a server that serves these. Starts NOT_SERVING. */
  constructor(server: Server, services: readonly DescService[], options: IntrospectionOptions) {
    const { reflection = true, maxStreams = 5_000 } = options;
    this.#services = services;
    this.#maxStreams = maxStreams;
    this.setServing(false);
    const tracked: Pick<Server, "addService"> = {
      addService: (service, implementation) => server.addService(service, this.#track(implementation)),
    };
    this.#health.addToServer(tracked);
    if (!reflection) return;
    // error_details is imported by nobody, but travels inside google.protobuf.Any: clients look it up to print errors.
    const files = [...services.map(({ file }) => file), file_google_rpc_error_details].flatMap(withImports);
    const fileDescriptorProtos = [...new Set(files)].map((file) => {
      return Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto));
    });
    // The service reads nothing of a package but its file descriptors; a message type is the smallest thing that carries them.
    const format = "Protocol Buffer 3 DescriptorProto";
    const ours = Object.fromEntries(
      services.map(({ typeName }) => [typeName, { format, type: {}, fileDescriptorProtos }] as const),
    );
    const healths = { "grpc.health.v1": healthMessage() };
    new ReflectionService({ ...ours, ...healths }).addToServer(tracked);
  }

  /** What health checks are told of the server ("") and of each service. Watches hear of changes alone. */
  setServing(serving: boolean): void {
    // The library tells its watches whatever it is told, as often as it is told.
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const name of ["", ...this.#services.map(({ typeName }) => typeName)])
      this.#health.setStatus(name, serving ? "SERVING" : "NOT_SERVING");
  }

  /** Ends health watches and reflection streams, which would otherwise keep their connections open for ever. */
  endStreams(): void {
    for (const stream of this.#streams)
      stream.emit("error", { code: Code.UNAVAILABLE, details: "this server is shutting down; call again" });
  }

  #track(implementation: UntypedServiceImplementation): UntypedServiceImplementation {
    const tracked = Object.entries(implementation).map(([name, handle]) => {
      // Unary handlers take two arguments, a call and a callback; those of streams take the call alone.
      if (handle.length > 1) return [name, handle];
      const handleStream = handle as (stream: Stream) => void;
      return [
        name,
        (stream: Stream) => {
          if (this.#streams.size >= this.#maxStreams) {
            stream.emit("error", { code: Code.RESOURCE_EXHAUSTED, details: "too many watch this server" });
            return;
          }
          if ("request" in stream) this.#forgetName(stream as Watch);
          this.#streams.add(stream);
          stream.once("cancelled", () => this.#streams.delete(stream));
          stream.once("close", () => this.#streams.delete(stream));
          handleStream(stream);
        },
      ];
    });
    return Object.fromEntries(tracked);
  }

  /** Health keeps every name that was ever watched, up to 1 MiB of a stranger's text: those of no service of ours become one. */
  #forgetName({ request }: Watch): void {
    const isOurs = request.service === "" || this.#services.some(({ typeName }) => typeName === request.service);
    if (!isOurs) request.service = "unknown";
  }
}

function withImports(file: DescFile): DescFile[] {
  return [...file.dependencies.flatMap(withImports), file];
}

function healthMessage() {
  const [method] = Object.values(healthService);
  if (method === undefined) throw new Error("grpc-health-check defines no method");
  const { requestType } = method;
  return { ...requestType, fileDescriptorProtos: requestType.fileDescriptorProtos.map(withNamedMapEntries) };
}

/**
 * The same file with its map entries named as protoc names them, "<Field>Entry". grpc-health-check has its descriptor from protobufjs, which
 * leaves the suffix out; then Go's protobuf, and so grpcurl, refuses the whole file.
 */
function withNamedMapEntries(bytes: Uint8Array): Buffer {
  const file = fromBinary(FileDescriptorProtoSchema, bytes);
  for (const message of file.messageType) {
    for (const entry of message.nestedType.filter(({ options }) => options?.mapEntry)) {
      const name = `${entry.name}Entry`;
      for (const field of message.field) if (field.typeName === entry.name) field.typeName = name;
      entry.name = name;
    }
  }
  return Buffer.from(toBinary(FileDescriptorProtoSchema, file));
}

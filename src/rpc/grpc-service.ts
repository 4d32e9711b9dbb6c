// Service definitions for grpc-js, out of protobuf-es descriptors: no second generator.
import { type DescMessage, type DescService, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

/**
 * The definition of a service, for servers and clients alike. A server gets requests undecoded and gives answers encoded, so that its
 * handlers decide what a malformed request is answered with; clients send and get messages.
 */
export function grpcServiceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method): [string, MethodDefinition<unknown, unknown>] => [
      method.localName,
      {
        path: `/${service.typeName}/${method.name}`,
        originalName: method.localName,
        requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
        responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
        requestSerialize: (message) => encodeMessage(method.input, message as MessageShape<DescMessage>),
        requestDeserialize: (bytes) => bytes,
        responseSerialize: (bytes) => bytes as Buffer,
        responseDeserialize: (bytes) => fromBinary(method.output, bytes),
      },
    ]),
  );
}

/** The encoded message as the Buffer that grpc-js insists on; no copy. */
export function encodeMessage<Desc extends DescMessage>(desc: Desc, message: MessageShape<Desc>): Buffer {
  const bytes = toBinary(desc, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** An encodeMessage that remembers its last message: handlers give equal answers as one and the same (see RecordResponses). */
export function rememberingEncoder<Desc extends DescMessage>(desc: Desc): (message: MessageShape<Desc>) => Buffer {
  let last: MessageShape<Desc> | undefined;
  let lastBytes: Buffer = Buffer.alloc(0);
  return (message) => {
    if (message !== last) {
      lastBytes = encodeMessage(desc, message);
      last = message;
    }
    return lastBytes;
  };
}

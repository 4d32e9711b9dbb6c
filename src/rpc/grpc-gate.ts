// Asks who calls once the headers of a gRPC call are there. Until then grpc-js reads nothing of it: what a stranger sends waits in the window
// of HTTP/2, 64 KiB a call, instead of piling up here as messages of 1 MiB, a thousand of them a connection.
import {
  type Metadata,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerListener,
  type status,
} from "@grpc/grpc-js";
import type { Caller } from "../domain/access.ts";
import { Call } from "./call.ts";
import type { Edge, RpcName } from "./edge.ts";
import { RPC_RULES } from "./scopes.ts";

/** What a call ends with. */
export interface GrpcStatus {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/** By what grpc-js calls a method. */
const RPC_OF_PATH: ReadonlyMap<string, RpcName> = new Map(
  Object.entries(RPC_RULES).map(([name, { method }]) => [`/${method.parent.typeName}/${method.name}`, name as RpcName]),
);

/** Who was let in, by the headers of the call. */
export class GrpcGate {
  readonly #callers = new WeakMap<Metadata, Caller>();
  readonly #edge: Edge;
  readonly #toStatus: (error: unknown) => GrpcStatus;

  constructor(edge: Edge, toStatus: (error: unknown) => GrpcStatus) {
    this.#edge = edge;
    this.#toStatus = toStatus;
  }

  /** To be given to the server. Health and reflection pass. */
  readonly intercept: ServerInterceptor = (method, call) => {
    const rpc = RPC_OF_PATH.get(method.path);
    if (rpc === undefined) return new ServerInterceptingCall(call);
    const onReceiveMetadata: ServerListener["onReceiveMetadata"] = (metadata, next) => {
      const refuse = (error: unknown) => call.sendStatus(this.#toStatus(error));
      const early = new Call(() => {}, headerReader(metadata));
      const pass = () => {
        this.#callers.set(metadata, early.caller);
        next(metadata);
      };
      try {
        const letIn = this.#edge.letIn(rpc, early);
        if (letIn === undefined) pass();
        else letIn.then(pass, refuse);
      } catch (error) {
        refuse(error);
      }
    };
    return new ServerInterceptingCall(call, { start: (next) => next({ onReceiveMetadata }) });
  };

  /** Gives the call the caller that its headers let in; without a gate there is none. */
  pass(call: Call, metadata: Metadata): void {
    const caller = this.#callers.get(metadata);
    if (caller === undefined) return;
    call.caller = caller;
    call.wasLetIn = true;
  }
}

/** Reads headers of a gRPC call. */
export function headerReader(metadata: Metadata): (name: string) => string | undefined {
  return (name) => {
    const values = metadata.get(name);
    return values.length === 0 ? undefined : values.join(", ");
  };
}

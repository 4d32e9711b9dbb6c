// Traces: what a call went through, told to whatever collects them. Undefined wherever tracing is off, so that it then costs nothing.

/** W3C trace context of a span, "00-<trace id>-<span id>-<flags>". Safe to store, and to send on. */
export type TraceParent = string;

export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface SpanStart {
  readonly name: string;
  /** server: answers a caller; client: asks somebody; consumer: takes what was left for it; internal: neither. */
  readonly kind: "server" | "client" | "consumer" | "internal";
  /** Undefined, or not a trace context: the span begins a trace of its own. */
  readonly parent?: TraceParent | undefined;
  /** Spans of other traces that led to this one. */
  readonly links?: readonly TraceParent[];
  readonly attributes?: SpanAttributes;
}

/** Ids and counts alone: what is traced leaves the service. */
export interface Span {
  /** Undefined where the span is not recorded: then nothing below it need be. */
  readonly traceparent: TraceParent | undefined;
  /** Once. `failure`: why it failed by the service's doing. */
  end(attributes?: SpanAttributes, failure?: string): void;
}

export interface Tracing {
  /** Never throws. */
  start(what: SpanStart): Span;
}

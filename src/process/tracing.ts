// The one place that knows OpenTelemetry's SDK: spans, sampled here, sent over OTLP/HTTP in batches.
import {
  type Context,
  type Link,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { ExportResultCode, parseTraceParent } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type Sampler,
  SamplingDecision,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from "@opentelemetry/sdk-trace-base";
import type { Logger } from "../app/ports/logger.ts";
import type { Span, SpanStart, Tracing } from "../app/ports/tracing.ts";
import type { Config } from "./config/parse-config.ts";
import { programVersion } from "./version.ts";

/** Spans wait here for the next batch, 5 s at most; past it they are dropped: traces are a sample, and must not hold up the service. */
const QUEUE_MAX = 4_096;
const BATCH_MAX = 512;
const EXPORT_TIMEOUT_MS = 5_000;

export interface RunningTracing extends Tracing {
  /** Sends what waits, within EXPORT_TIMEOUT_MS. Never rejects. */
  close(): Promise<void>;
}

/** Undefined where no endpoint is set. Sends nothing before the first span. */
export function openTracing(config: Config, processId: string, logger: Logger): RunningTracing | undefined {
  const { otlpEndpoint, otlpHeaders, traceRatio } = config;
  if (otlpEndpoint === undefined) return undefined;
  const exporter = new OTLPTraceExporter({
    url: `${otlpEndpoint.replace(/\/+$/, "")}/v1/traces`,
    headers: Object.fromEntries(otlpHeaders),
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });
  const limits = {
    maxQueueSize: QUEUE_MAX,
    maxExportBatchSize: BATCH_MAX,
    scheduledDelayMillis: 5_000,
    exportTimeoutMillis: EXPORT_TIMEOUT_MS,
  };
  const version = programVersion();
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({
      "service.name": "metering",
      "service.version": version,
      "service.instance.id": processId,
    }),
    sampler: new CallSampler(traceRatio),
    spanProcessors: [new BatchSpanProcessor(tellingFailures(exporter, logger), limits)],
  });
  const tracer = provider.getTracer("metering", version);
  return {
    start: (what) => startSpan(tracer, what),
    close: () => provider.shutdown().catch((err: unknown) => logger.warn({ err }, "not all traces could be sent")),
  };
}

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  consumer: SpanKind.CONSUMER,
  internal: SpanKind.INTERNAL,
} as const;

function startSpan(tracer: Tracer, { name, kind, parent, links = [], attributes }: SpanStart): Span {
  const options = { kind: KINDS[kind], links: links.flatMap(toLink), ...(attributes && { attributes }) };
  const span = tracer.startSpan(name, options, contextOf(parent));
  const { traceId, spanId } = span.spanContext();
  return {
    traceparent: span.isRecording() ? `00-${traceId}-${spanId}-01` : undefined,
    end(last, failure) {
      if (last !== undefined) span.setAttributes(last);
      if (failure !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
      span.end();
    },
  };
}

function contextOf(parent: string | undefined): Context {
  const context = parent === undefined ? null : parseTraceParent(parent);
  return context === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, { ...context, isRemote: true });
}

function toLink(traceparent: string): Link[] {
  const context = parseTraceParent(traceparent);
  return context === null ? [] : [{ context }];
}

/**
 * What a caller traces is traced here too, what it does not is not. Of calls without a trace, a share is. What the service does by itself
 * always is: a drain that has links, a round of the flush.
 */
class CallSampler implements Sampler {
  readonly #ratio: TraceIdRatioBasedSampler;

  constructor(ratio: number) {
    this.#ratio = new TraceIdRatioBasedSampler(ratio);
  }

  shouldSample(context: Context, traceId: string, _name: string, kind: SpanKind): { decision: SamplingDecision } {
    const parent = trace.getSpanContext(context);
    if (parent !== undefined) return decide((parent.traceFlags & 1) === 1);
    return kind === SpanKind.SERVER ? this.#ratio.shouldSample(context, traceId) : decide(true);
  }

  toString(): string {
    return `CallSampler{${this.#ratio}}`;
  }
}

function decide(sampled: boolean) {
  return { decision: sampled ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD };
}

/** One line when traces can be sent no more, one when they can again. */
function tellingFailures(exporter: SpanExporter, logger: Logger): SpanExporter {
  let failing = false;
  return {
    export(spans, done) {
      exporter.export(spans, ({ code, error }) => {
        const failed = code !== ExportResultCode.SUCCESS;
        if (failed && !failing) logger.warn({ err: error }, "traces cannot be sent, and are dropped");
        if (!failed && failing) logger.info({}, "traces are sent again");
        failing = failed;
        // What failed has been told.
        done({ code: ExportResultCode.SUCCESS });
      });
    },
    shutdown: () => exporter.shutdown(),
  };
}

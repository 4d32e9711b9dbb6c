// Both servers over ports that live in the test: what the edge makes of requests and answers, without a store.
import { onTestFinished } from "vitest";
import { OpaqueTokens } from "../../../src/app/opaque-tokens.ts";
import type { Intake, IntakeResult } from "../../../src/app/ports/intake.ts";
import type { VoidLedger } from "../../../src/app/ports/ledger.ts";
import { RecordUsage } from "../../../src/app/record-usage.ts";
import type { ReadUsage, UsageAnswer } from "../../../src/app/usage-request.ts";
import { MeteringError } from "../../../src/domain/errors.ts";
import type { UsageRecord } from "../../../src/domain/usage-record.ts";
import { AdminHandlers } from "../../../src/rpc/admin-handlers.ts";
import { ConnectServer } from "../../../src/rpc/connect-server.ts";
import { type CallLimits, DEFAULT_CALL_LIMITS, type RpcLogger, type RpcObserver } from "../../../src/rpc/edge.ts";
import { DEFAULT_GRPC_CONNECTION, GrpcServer } from "../../../src/rpc/grpc-server.ts";
import { MeteringHandlers } from "../../../src/rpc/handlers.ts";
import { testCatalog } from "../../support/catalog.ts";
import { testClock } from "../../support/clock.ts";

/** Keeps records in memory, by customer and key. */
export class MemoryIntake implements Intake {
  readonly stored = new Map<string, UsageRecord>();
  /** Awaited before anything is stored. */
  gate: Promise<void> = Promise.resolve();

  async record(records: readonly UsageRecord[]): Promise<readonly IntakeResult[]> {
    await this.gate;
    return records.map((record) => {
      const { customerId, idempotencyKey } = record;
      const key = JSON.stringify([customerId, idempotencyKey]);
      const known = this.stored.get(key);
      if (known === undefined) {
        this.stored.set(key, record);
        return { outcome: "recorded", position: undefined };
      }
      if (known.fingerprint === record.fingerprint) return { outcome: "duplicate", position: undefined };
      const failure = { kind: "idempotency_key_reused", customerId, idempotencyKey } as const;
      return { error: new MeteringError(failure, "the key stands for a different record") };
    });
  }
}

/** Totals of nobody. */
export const EMPTY_ANSWER: UsageAnswer = {
  interval: { startMs: 0, endMs: 900_000 },
  tokensUsed: 0n,
  requests: 0n,
  totals: [],
  nextPageToken: "",
  billing: undefined,
  watermarkMs: 0,
};

const NO_READS: ReadUsage = {
  getUsage: async () => EMPTY_ANSWER,
  async *watchUsage() {},
  async *watchAll() {},
};

/** What a log line holds. */
export interface LogLine {
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly fields: { readonly err?: unknown };
}

export interface TestServiceOptions {
  readonly intake?: Intake;
  readonly readUsage?: Partial<ReadUsage>;
  readonly limits?: Partial<CallLimits>;
  /** Whether StreamUsage may go without a customer. */
  readonly mayReadAll?: boolean;
  /** Serves the admin API too. */
  readonly voids?: VoidLedger;
}

/** Starts both servers on free ports of the loopback; they stop when the test ends. */
export async function startTestService(options: TestServiceOptions = {}) {
  const clock = testClock();
  const logged: LogLine[] = [];
  const ended: string[] = [];
  const recordsEnded: string[] = [];
  const log = (level: LogLine["level"]) => (fields: object, message: string) => {
    logged.push({ level, message, fields: { ...fields } });
  };
  const logger: RpcLogger = { info: log("info"), warn: log("warn"), error: log("error") };
  const observer: RpcObserver = {
    callEnded: (rpc, code) => ended.push(`${rpc} ${code}`),
    recordEnded: (result) => recordsEnded.push(result),
    openStreams: () => {},
  };
  const recordUsage = new RecordUsage(options.intake ?? new MemoryIntake(), new OpaqueTokens("test"));
  const { mayReadAll = false } = options;
  const readUsage = { ...NO_READS, ...options.readUsage };
  const handlers = new MeteringHandlers({
    recordUsage,
    readUsage,
    catalog: testCatalog(),
    clock,
    observer,
    mayReadAll,
  });
  const limits = { ...DEFAULT_CALL_LIMITS, ...options.limits };
  const admin = options.voids && new AdminHandlers(options.voids);
  const edge = { handlers, admin, clock, logger, observer, limits, randomId: () => "made-here" };
  const grpc = new GrpcServer({ ...edge, connection: DEFAULT_GRPC_CONNECTION });
  const connect = new ConnectServer(edge);
  const grpcPort = await grpc.start(0, "127.0.0.1");
  const connectPort = await connect.start(0, "127.0.0.1");
  onTestFinished(() => Promise.all([grpc.stop(0), connect.stop(0)]).then(() => {}));
  const grpcAddress = `127.0.0.1:${grpcPort}`;
  return {
    grpc,
    connect,
    grpcAddress,
    connectUrl: `http://127.0.0.1:${connectPort}`,
    clock,
    logged,
    ended,
    recordsEnded,
  };
}

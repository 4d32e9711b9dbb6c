// Carries out commands one after another, keeps their answers under their idempotency keys, and keeps the journal from which
// the account can be made again.
import { decodeForm } from "../http/form.ts";
import type { Router, Run } from "../http/router.ts";
import { StripeError, unknownRoute } from "../http/stripe-error.ts";
import { decodeJson, isV2 } from "../http/v2.ts";
import type { MeterEventFate } from "../usage/async-validation.ts";
import { Account } from "./account.ts";
import type { SimulatorClock } from "./clock.ts";
import { type Answer, IdempotencyLayer, requestFingerprint } from "./idempotency.ts";
import { Journal } from "./journal.ts";

/** A request that may change the account. */
export interface Command {
  readonly method: "POST" | "DELETE";
  readonly path: string;
  readonly body: string;
  readonly isJson: boolean;
  readonly requestId: string;
  readonly idempotencyKey?: string | undefined;
  /** A fault: answer this status instead, whether or not the command is `processed`; under the key, if `saved`. */
  readonly failure?: { readonly status: number; readonly processed: boolean; readonly saved: boolean } | undefined;
  /** A fault: what becomes of the meter events it sends, although they are good. */
  readonly fate?: MeterEventFate | undefined;
}

interface Entry {
  readonly atMs: number;
  readonly command: Command;
}

/** An answer, and whether it is an earlier one given again. */
export interface Outcome extends Answer {
  readonly isReplay: boolean;
}

export class Engine {
  readonly account: Account;
  readonly #v1Keys = new IdempotencyLayer();
  readonly #v2Keys = new IdempotencyLayer();
  readonly #router: Router;
  readonly #clock: SimulatorClock;
  #journal: Journal | undefined;
  #lastMs = 0;
  #commandCount = 0;

  private constructor(seed: string, router: Router, clock: SimulatorClock) {
    this.account = new Account(seed);
    this.#router = router;
    this.#clock = clock;
  }

  /** With a data file, carries out its commands again first; its seed then wins over `seed`. */
  static async open(router: Router, clock: SimulatorClock, seed: string, dataFile?: string): Promise<Engine> {
    if (dataFile === undefined) return new Engine(seed, router, clock);
    const replayed: Engine[] = [];
    const journal = Journal.open(dataFile, (line) => {
      const [engine] = replayed;
      if (engine === undefined) replayed.push(new Engine(seedOf(line), router, clock));
      else engine.#replay(line as Entry);
    });
    const engine = replayed[0] ?? new Engine(seed, router, clock);
    engine.#journal = journal;
    if (replayed.length === 0) await journal.append({ journal: 1, seed });
    return engine;
  }

  /** Time, which never goes back. */
  nowMs(): number {
    return Math.max(this.#clock.nowMs(), this.#lastMs);
  }

  /** Does what time alone has made due. */
  catchUp(): void {
    this.#lastMs = this.nowMs();
    this.account.begin(this.#lastMs, "read", { id: null, idempotency_key: null });
  }

  /** Answers a request that changes nothing. */
  read(method: string, path: string, query: string): Outcome {
    this.catchUp();
    return { ...answerOf(path, () => this.#prepare(method, path, decodeForm(query))(this.account)), isReplay: false };
  }

  /** The answer kept under the command's key, if there is one. Throws 400 when the key stands for another request. */
  replayFor(command: Command): Outcome | undefined {
    if (command.idempotencyKey === undefined) return undefined;
    const { keys, keptMs } = this.#keysOf(command.path);
    const kept = keys.lookup(command.idempotencyKey, fingerprintOf(command), this.nowMs(), keptMs);
    return kept === undefined ? undefined : { ...kept, isReplay: true };
  }

  /** Carries the command out; resolves once it is in the journal. Throws 400 for parameters that do not fit, with nothing kept. */
  async perform(command: Command): Promise<Outcome> {
    const run = this.#prepareCommand(command);
    const entry: Entry = { atMs: this.nowMs(), command };
    const answer = this.#execute(entry, run);
    await this.#journal?.append(entry);
    return { ...answer, isReplay: false };
  }

  close(): void {
    this.#journal?.close();
  }

  #replay(entry: Entry): void {
    this.#execute(entry, this.#prepareCommand(entry.command));
  }

  #prepareCommand({ method, path, body, isJson }: Command): (account: Account) => object {
    return this.#prepare(method, path, isJson ? parseJson(body) : decodeForm(body));
  }

  #prepare(method: string, path: string, raw: unknown): (account: Account) => object {
    const match = this.#router.match(method, path);
    if (match === undefined) throw unknownRoute(method, path);
    const run: Run = match.route.prepare(raw);
    return (account) => run(account, match.path);
  }

  #execute({ atMs, command }: Entry, run: (account: Account) => object): Answer {
    this.#lastMs = atMs;
    this.#commandCount += 1;
    const { path, idempotencyKey, requestId, failure, fate } = command;
    const request = { id: requestId, idempotency_key: idempotencyKey ?? null };
    this.account.begin(atMs, `command ${this.#commandCount}`, request, fate);
    const done = failure?.processed === false ? undefined : answerOf(path, () => run(this.account));
    const answer = failure === undefined && done !== undefined ? done : simulatedFailure(failure?.status ?? 500, path);
    this.#keep(command, isV2(path) ? done : answer, atMs);
    this.#clock.apply(this.account.clockSetting);
    return answer;
  }

  /** v1 keeps whatever came of the request; v2 only what was done: a request that failed is carried out again. */
  #keep(command: Command, answer: Answer | undefined, atMs: number): void {
    const { path, idempotencyKey, failure } = command;
    if (idempotencyKey === undefined || answer === undefined || failure?.saved === false) return;
    if (isV2(path) && answer.status !== 200) return;
    const { keys, keptMs } = this.#keysOf(path);
    keys.save(idempotencyKey, fingerprintOf(command), answer, atMs, keptMs);
  }

  #keysOf(path: string): { readonly keys: IdempotencyLayer; readonly keptMs: number } {
    const { idempotencyKeptMs, v2IdempotencyKeptMs } = this.account.settings;
    return isV2(path)
      ? { keys: this.#v2Keys, keptMs: v2IdempotencyKeptMs }
      : { keys: this.#v1Keys, keptMs: idempotencyKeptMs };
  }
}

function seedOf(line: unknown): string {
  if (typeof line === "object" && line !== null && "seed" in line && typeof line.seed === "string") return line.seed;
  throw new Error("The simulator's data file does not begin with its seed; it is not a journal.");
}

function fingerprintOf({ method, path, body, isJson }: Command): string {
  return requestFingerprint(method, path, body, isJson);
}

function parseJson(body: string): unknown {
  const value = decodeJson(body);
  if (value === undefined) throw new StripeError(400, "Invalid JSON in the request body.");
  return value;
}

/** Objects that can change later are rendered now; frozen ones (meter events, by the million) are kept as they are. */
function answerOf(path: string, run: () => object): Answer {
  try {
    const body = run();
    return { status: 200, headers: {}, body: Object.isFrozen(body) ? body : JSON.stringify(body) };
  } catch (error) {
    if (error instanceof StripeError) return error.answerTo(path);
    throw error;
  }
}

/** Stripe's own failure, as its SDKs see it. */
export function simulatedFailure(status: number, path: string): Answer {
  const message = "An unexpected error occurred. (A fault that the simulator was told to make.)";
  return new StripeError(status, message, { type: "api_error" }).answerTo(path);
}

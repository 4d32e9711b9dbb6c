// The life of one process of the service. After its death, nothing that it began comes back to it, and it begins nothing. While it is
// stopped, it hears nothing and begins nothing, and then goes on.
import type { Clock } from "../src/app/ports/clock.ts";
import type { Pool } from "../src/postgres/pool.ts";
import type { Activity } from "./activity.ts";

/** What a dead process waits for. */
const NEVER = new Promise<never>(() => {});

type Call = (...args: unknown[]) => unknown;

/** What becomes of a process, and where: before a call is made, or after it was done and before its answer is heard. */
export interface Doom {
  readonly fate: "death" | "stop";
  /** Calls that still go well. */
  readonly callsLeft: number;
  readonly strikes: "before" | "after";
}

export class Life {
  readonly name: string;
  readonly #activity: Activity;
  readonly #died = Promise.withResolvers<void>();
  readonly #onStop: () => void;
  #underWay = 0;
  #callsLeft = 0;
  #doom: Doom | undefined;
  #isDead = false;
  /** Settled by the end of the stop that is on. */
  #stopped: PromiseWithResolvers<void> | undefined;

  /** `onStop` is told when the process is stopped by its doom. */
  constructor(name: string, activity: Activity, onStop: () => void = () => {}) {
    this.name = name;
    this.#activity = activity;
    this.#onStop = onStop;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Resolves at its death. */
  get died(): Promise<void> {
    return this.#died.promise;
  }

  /** Lets it happen at one of the next calls, unless something is to happen already. */
  doom(doom: Doom): void {
    if (this.#doom !== undefined) return;
    this.#doom = doom;
    this.#callsLeft = doom.callsLeft;
  }

  die(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    // What it had under way will never come to an end that anybody sees.
    for (; this.#underWay > 0; this.#underWay -= 1) this.#activity.end();
    this.#died.resolve();
  }

  /** Goes on after a stop. */
  resume(): void {
    this.#stopped?.resolve();
    this.#stopped = undefined;
  }

  /** A call, with a promise or a callback at its end, as this process makes it. */
  mortal(call: Call): Call {
    return (...args) => {
      const callback = args.at(-1);
      if (typeof callback === "function") {
        const heard = (...answer: unknown[]) => void this.#heard().then(() => callback(...answer));
        void this.#allowed().then(() => call(...args.slice(0, -1), heard));
        return undefined;
      }
      return this.#allowed().then(() =>
        Promise.resolve(call(...args)).then(
          (value) => this.#heard().then(() => value),
          (cause: unknown) => this.#heard().then(() => Promise.reject(cause)),
        ),
      );
    };
  }

  /** A port whose methods are mortal calls; its other members are as they are. */
  port<T extends object>(port: T): T {
    return new Proxy(port, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        return typeof member === "function" ? this.mortal(member.bind(target) as Call) : member;
      },
    });
  }

  /** The clock as this process has it: who is dead does not wake up. */
  clock(clock: Clock): Clock {
    return {
      nowMs: () => clock.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
      sleep: async (delayMs, signal) => {
        await clock.sleep(delayMs, signal);
        while (!this.#isAwake) await this.#awakening;
      },
    };
  }

  /** Makes every statement, and every wait for a connection, a mortal call. */
  watch(pool: Pool): void {
    Reflect.set(pool, "connect", this.mortal(Reflect.get(pool, "connect").bind(pool)));
    pool.on("connect", (client) => {
      // Its death may strike before anybody listens for what becomes of the connection.
      client.on("error", () => {});
      Reflect.set(client, "query", this.mortal(Reflect.get(client, "query").bind(client)));
    });
  }

  /** Resolves when a call may be made, which is under way from then on; never for the dead. */
  async #allowed(): Promise<void> {
    if (this.#isAwake && this.#callsLeft === 0 && this.#doom?.strikes === "before") this.#strike(this.#doom);
    while (!this.#isAwake) await this.#awakening;
    this.#underWay += 1;
    this.#activity.begin();
  }

  /** Resolves when the answer of a call may be heard; never for the dead. */
  async #heard(): Promise<void> {
    if (this.#isDead) return NEVER;
    this.#underWay -= 1;
    this.#activity.end();
    if (this.#doom !== undefined && this.#callsLeft === 0) this.#strike(this.#doom);
    else this.#callsLeft -= 1;
    while (!this.#isAwake) await this.#awakening;
  }

  #strike({ fate }: Doom): void {
    this.#doom = undefined;
    if (fate === "death") {
      this.die();
      return;
    }
    this.#stopped = Promise.withResolvers();
    this.#onStop();
  }

  get #isAwake(): boolean {
    return !this.#isDead && this.#stopped === undefined;
  }

  /** To be awaited while not awake. */
  get #awakening(): Promise<void> {
    return this.#isDead ? NEVER : (this.#stopped?.promise ?? Promise.resolve());
  }
}

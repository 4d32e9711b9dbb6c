// The life of one process of the service. After its death, nothing that it began comes back to it, and it begins nothing.
import type { Clock } from "../src/app/ports/clock.ts";
import type { Pool } from "../src/postgres/pool.ts";
import type { Activity } from "./activity.ts";

/** What a dead process waits for. */
const NEVER = new Promise<never>(() => {});

type Call = (...args: unknown[]) => unknown;

/** Where death strikes: before the call is made, or after it was done and before its answer is heard. */
export interface Doom {
  /** Calls that still go well. */
  readonly callsLeft: number;
  readonly strikes: "before" | "after";
}

export class Life {
  readonly name: string;
  readonly #activity: Activity;
  readonly #died = Promise.withResolvers<void>();
  #underWay = 0;
  #doom: { callsLeft: number; strikes: Doom["strikes"] } | undefined;
  #isDead = false;

  constructor(name: string, activity: Activity) {
    this.name = name;
    this.#activity = activity;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Resolves at its death. */
  get died(): Promise<void> {
    return this.#died.promise;
  }

  /** Lets it die at one of the next calls. */
  doom(doom: Doom): void {
    this.#doom ??= { ...doom };
  }

  die(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    // What it had under way will never come to an end that anybody sees.
    for (; this.#underWay > 0; this.#underWay -= 1) this.#activity.end();
    this.#died.resolve();
  }

  /** Before a call; false: it must not be made. */
  #enter(): boolean {
    if (this.#isDead) return false;
    if (this.#doom?.callsLeft === 0 && this.#doom.strikes === "before") {
      this.die();
      return false;
    }
    this.#underWay += 1;
    this.#activity.begin();
    return true;
  }

  /** After a call; false: its answer must not be heard. */
  #leave(): boolean {
    if (this.#isDead) return false;
    this.#underWay -= 1;
    this.#activity.end();
    if (this.#doom === undefined) return true;
    if (this.#doom.callsLeft === 0) this.die();
    else this.#doom.callsLeft -= 1;
    return !this.#isDead;
  }

  /** A call, with a promise or a callback at its end, as this process makes it. */
  mortal(call: Call): Call {
    return (...args) => {
      if (!this.#enter()) return NEVER;
      const callback = args.at(-1);
      if (typeof callback === "function") {
        const heard = (...answer: unknown[]) => (this.#leave() ? callback(...answer) : undefined);
        return call(...args.slice(0, -1), heard);
      }
      return Promise.resolve(call(...args)).then(
        (value) => (this.#leave() ? value : NEVER),
        (cause: unknown) => (this.#leave() ? Promise.reject(cause) : NEVER),
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
        if (this.#isDead) await NEVER;
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
}

// A deployment: the processes of the service, which die now and then and are started again a while later.

import { LEASE_TIMING } from "../src/app/hold-lease.ts";
import type { IntakeResult } from "../src/app/ports/intake.ts";
import type { UsageRecord } from "../src/domain/usage-record.ts";
import type { Doom, Life } from "./life.ts";
import {
  type Ground,
  type ServiceProcess,
  startFlushProcess,
  startIntakeProcess,
  startWebhookProcess,
} from "./processes.ts";
import type { Timeline } from "./timeline.ts";

export type Role = "leader" | "standby" | "webhooks" | "intake";

type IntakeProcess = Awaited<ReturnType<typeof startIntakeProcess>>;

export interface DeploymentOptions {
  readonly ground: Ground;
  readonly timeline: Timeline;
  /** Where Stripe delivers to. */
  readonly webhookPort: number;
  /** How long a dead process stays away, milliseconds of virtual time. */
  readonly awayMs: () => number;
  /** How long a stopped process stays stopped: longer than a lease in production. */
  readonly stoppedMs: () => number;
}

export class Deployment {
  readonly #options: DeploymentOptions;
  readonly #running = new Map<Role, ServiceProcess>();
  #intake: IntakeProcess | undefined;
  #started = 0;
  deaths = 0;
  stops = 0;

  constructor(options: DeploymentOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    for (const role of ["webhooks", "leader", "standby", "intake"] as const) await this.#start(role);
  }

  /** Lets something happen to a process at one of its next calls. Only flush processes may be stopped: see Life. */
  doom(role: Role, doom: Doom): void {
    this.#running.get(role)?.life.doom(doom);
  }

  /** Undefined: the intake is away, or died before it answered; whether the records are in the ledger is unknown. */
  async record(records: readonly UsageRecord[]): Promise<readonly IntakeResult[] | undefined> {
    const process = this.#intake;
    return process && Promise.race([process.intake.record(records), process.life.died.then(() => undefined)]);
  }

  /** Ends every process in order. */
  async stop(): Promise<void> {
    for (const [role, process] of this.#running) {
      process.life.resume();
      this.#running.delete(role);
      await process.stop();
    }
  }

  async #start(role: Role): Promise<void> {
    this.#started += 1;
    const process = await this.#startProcess(role, `${role} ${this.#started}`);
    this.#running.set(role, process);
    void process.life.died.then(() => this.#bury(role, process));
  }

  async #startProcess(role: Role, name: string): Promise<ServiceProcess> {
    const { ground, webhookPort } = this.#options;
    if (role === "webhooks") return startWebhookProcess(ground, name, webhookPort);
    if (role !== "intake") return startFlushProcess(ground, name, () => this.#onStop(role));
    const process = await startIntakeProcess(ground, name);
    this.#intake = process;
    return process;
  }

  #onStop(role: Role): void {
    const { ground, timeline, stoppedMs } = this.#options;
    const life = this.#running.get(role)?.life;
    if (life === undefined) return;
    this.stops += 1;
    this.#expireLease(life);
    timeline.put(ground.clock.nowMs() + stoppedMs(), async () => life.resume());
  }

  /** What it holds runs out soon in production. Here leases are long, since time moves in long steps. */
  #expireLease({ name }: Life): void {
    const { ground, timeline } = this.#options;
    timeline.put(ground.clock.nowMs() + LEASE_TIMING.ttlMs, () => ground.database.expireLease(name));
  }

  async #bury(role: Role, process: ServiceProcess): Promise<void> {
    const { ground, timeline, awayMs } = this.#options;
    this.deaths += 1;
    this.#running.delete(role);
    if (role === "intake") this.#intake = undefined;
    await ground.activity.during(() => ground.database.cutOff(process.life.name));
    this.#expireLease(process.life);
    timeline.put(ground.clock.nowMs() + awayMs(), () => this.#start(role));
  }
}

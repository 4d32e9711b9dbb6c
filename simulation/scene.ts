// What a quarter is played on: virtual time, an empty database on it, the simulated Stripe, and a deployment between the two.
import type { FlushObserver } from "../src/app/flush.ts";
import { freePort } from "../src/process/embedded/free-port.ts";
import { type StripeSimulator, startStripeSimulator } from "../src/stripe-simulator/server.ts";
import type { SettingsChange } from "../src/stripe-simulator/state/settings.ts";
import { THIN_WEBHOOK_PATH, WEBHOOK_PATH } from "../src/webhook/app.ts";
import { Activity } from "./activity.ts";
import { Deployment } from "./deployment.ts";
import { Notebook } from "./notebook.ts";
import { THIN_WEBHOOK_SECRET, WEBHOOK_SECRET } from "./processes.ts";
import type { QuarterOptions } from "./quarter.ts";
import { Random } from "./random.ts";
import { Stage } from "./stage.ts";
import { Timeline } from "./timeline.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { VirtualDatabase } from "./virtual-database.ts";
import { HOUR_MS, MINUTE_MS } from "./world.ts";

/** Loops that only look for work may be so late; every happening wakes them as well. */
const IDLE_MS = 3 * HOUR_MS;
/** A sleep up to this long is one of a loop that looks for work, unless it is one of pacing. */
const LOOK_MS_MAX = HOUR_MS;
const PACE_MS_MAX = 400;
/** By the real clock: a webhook that is under way is waited for. */
const BUSY_MACHINE_MS = 60_000;
const SILENT: FlushObserver = { planned() {}, sent() {}, held() {}, backlog() {} };

interface Parts {
  readonly activity: Activity;
  readonly clock: VirtualClock;
  readonly database: VirtualDatabase;
  readonly simulator: StripeSimulator;
  readonly webhookPort: number;
}

export class Scene {
  readonly clock: VirtualClock;
  readonly database: VirtualDatabase;
  readonly simulator: StripeSimulator;
  readonly deployment: Deployment;
  readonly stage: Stage;
  readonly timeline = new Timeline();
  readonly notebook = new Notebook();
  readonly #activity: Activity;

  private constructor({ activity, clock, database, simulator, webhookPort }: Parts, { seed, sink }: QuarterOptions) {
    this.#activity = activity;
    this.clock = clock;
    this.database = database;
    this.simulator = simulator;
    const { timeline, notebook } = this;
    const random = new Random(seed, `processes ${sink}`);
    const stripeUrl = new URL(simulator.url);
    this.deployment = new Deployment({
      ground: { database, stripeUrl, sink, clock, activity, logger: notebook.logger, observer: SILENT },
      timeline,
      webhookPort,
      awayMs: () => Math.round(random.spread(MINUTE_MS, 3 * HOUR_MS)),
      // Past the lease, but within what the horizon has to spare: nobody can keep a process that stops for longer between its last look
      // at the clock and the write of a request from sending an identifier that Stripe has forgotten.
      stoppedMs: () => Math.round(random.spread(MINUTE_MS, 50 * MINUTE_MS)),
    });
    this.stage = new Stage({ clock, activity, timeline, simulator, database });
  }

  /** Time stands at the world's start, and no process of the service runs yet. */
  static async open(options: QuarterOptions, settings: SettingsChange | undefined): Promise<Scene> {
    const { seed, sink, world, databaseUrl } = options;
    const activity = new Activity();
    const clock = new VirtualClock(world.startMs, (delayMs) =>
      delayMs > PACE_MS_MAX && delayMs <= LOOK_MS_MAX ? IDLE_MS : 0,
    );
    const database = await VirtualDatabase.create(databaseUrl, world.startMs);
    const webhookPort = await freePort();
    const webhooks = `http://127.0.0.1:${webhookPort}`;
    const simulator = await startStripeSimulator({
      seed: `${seed} ${sink}`,
      clock: () => clock.nowMs(),
      webhookEndpoints: [
        { url: `${webhooks}${WEBHOOK_PATH}`, secret: WEBHOOK_SECRET },
        { url: `${webhooks}${THIN_WEBHOOK_PATH}`, secret: THIN_WEBHOOK_SECRET, payload: "thin" },
      ],
      settings,
      webhookRetryMs: MINUTE_MS,
      webhookTimeoutMs: BUSY_MACHINE_MS,
    });
    return new Scene({ activity, clock, database, simulator, webhookPort }, options);
  }

  async close(): Promise<void> {
    await this.simulator.close();
    await this.database.close();
    this.#activity.close();
  }
}

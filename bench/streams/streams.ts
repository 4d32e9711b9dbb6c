// Streams, measured: how live they are, and how many a replica holds.
import { type CrowdPlan, type CrowdRun, runCrowd } from "./crowd.ts";
import { type FeedPlan, type FeedRun, runFeed } from "./feed.ts";
import { type Stage, startStage } from "./stage.ts";

export const STREAM_SCENARIOS = ["stream-feed", "stream-crowd"] as const;
export type StreamScenario = (typeof STREAM_SCENARIOS)[number];

/** All runs, in order of the rounds. */
export interface StreamsMeasured {
  readonly feeds: readonly { readonly plan: FeedPlan; readonly runs: readonly FeedRun[] }[];
  readonly crowds: readonly { readonly plan: CrowdPlan; readonly runs: readonly CrowdRun[] }[];
}

export interface StreamTiming {
  readonly warmUpMs: number;
  readonly measureMs: number;
  readonly rounds: number;
  /** A twentieth of the crowds. */
  readonly quick: boolean;
}

const REPLICAS = 2;
const FIRST_MS = 5_000;

/** Runs the scenarios `rounds` times, unless `interruption` rejects; undefined without Redis. `onStep` hears of each step before it begins. */
export async function measureStreams(
  scenarios: readonly StreamScenario[],
  timing: StreamTiming,
  interruption: Promise<never>,
  onStep: (step: string) => void,
): Promise<StreamsMeasured | undefined> {
  const { rounds, quick, warmUpMs, measureMs } = timing;
  // Twice as many streams as customers: each is followed on both replicas.
  const plan: FeedPlan = { customers: 25, recordsPerSecond: 100, beside: "nothing", warmUpMs, measureMs };
  const plans = scenarios.includes("stream-feed") ? [plan, { ...plan, beside: "full speed" } as const] : [];
  const feeds = plans.map((of) => ({ plan: of, runs: [] as FeedRun[] }));
  const crowds = (scenarios.includes("stream-crowd") ? crowdPlans(quick) : []).map((of) => {
    return { plan: of, runs: [] as CrowdRun[] };
  });
  onStep("starting");
  const stage = await startStage(REPLICAS);
  if (stage === undefined) return undefined;
  try {
    // Servers are up, but their code is not compiled yet: a first round that is thrown away.
    if (feeds.length > 0)
      await Promise.race([runFeed(stage, { ...plan, warmUpMs: 0, measureMs: FIRST_MS }), interruption]);
    for (let round = 1; round <= rounds; round += 1) {
      for (const { plan: of, runs } of feeds) {
        onStep(`round ${round}: stream-feed beside ${of.beside}`);
        runs.push(await Promise.race([runFeed(stage, of), interruption]));
      }
    }
    await crowd(stage, crowds, rounds, interruption, onStep);
  } finally {
    await stage.stop();
  }
  return { feeds, crowds };
}

function crowdPlans(quick: boolean): CrowdPlan[] {
  const share = quick ? 20 : 1;
  return [
    { questions: "equal", streams: 10_000 / share },
    { questions: "different", streams: 2_000 / share },
  ];
}

async function crowd(
  stage: Stage,
  crowds: readonly { readonly plan: CrowdPlan; readonly runs: CrowdRun[] }[],
  rounds: number,
  interruption: Promise<never>,
  onStep: (step: string) => void,
): Promise<void> {
  for (let round = 1; round <= rounds; round += 1) {
    for (const { plan, runs } of crowds) {
      onStep(`round ${round}: stream-crowd, ${plan.streams} ${plan.questions}`);
      runs.push(await Promise.race([runCrowd(stage, plan), interruption]));
    }
  }
}

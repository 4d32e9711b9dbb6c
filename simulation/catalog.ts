// What is metered and billed in the simulation. Two Stripe meters: one fed by one measurement, one by two, weighted, with a payload.
import type { MeterCatalog } from "../src/domain/meter.ts";

export const INPUT = "llm_input";
export const WORK = "llm_work";
export const EVENT_NAMES = [INPUT, WORK] as const;
export type EventName = (typeof EVENT_NAMES)[number];

const names = ["input_tokens", "output_tokens"];

export const CATALOG: MeterCatalog = {
  meters: new Map(names.map((name) => [name, { name, unit: "token" }])),
  billing: [
    { meter: "input_tokens", modelPattern: "*", eventName: INPUT, weight: 1n },
    {
      meter: "input_tokens",
      modelPattern: "large-*",
      eventName: WORK,
      weight: 1n,
      payload: new Map([["model", "{model}"]]),
    },
    {
      meter: "output_tokens",
      modelPattern: "*",
      eventName: WORK,
      weight: 4n,
      payload: new Map([["model", "{model}"]]),
    },
  ],
  rollupLabels: [],
};

export const MODELS = ["large-2", "small-1"] as const;

/** What a record bills, worked out apart from the service's own code. */
export function billed(usage: {
  readonly model: string;
  readonly input: bigint;
  readonly output: bigint;
}): Record<EventName, bigint> {
  const { model, input, output } = usage;
  return { llm_input: input, llm_work: 4n * output + (model.startsWith("large-") ? input : 0n) };
}

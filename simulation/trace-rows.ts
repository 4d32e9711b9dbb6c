// The sizes of requests: from an LLM trace, or made up where it is not at hand.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { readTrace } from "../src/process/replay/trace.ts";
import type { Random } from "./random.ts";

/**
 * The "code" half of the Azure LLM inference trace 2023 (github.com/Azure/AzurePublicDataset, CC-BY 4.0): kept beside the project, never
 * in it.
 */
const AZURE = fileURLToPath(new URL("../../shared/data/azure-llm-2023-code.csv", import.meta.url));
const MADE_UP_ROWS = 2_000;

export interface Size {
  readonly input: bigint;
  readonly output: bigint;
}

/** All rows of the trace, in its order; as many made-up ones of about the same sizes where there is none. */
export async function requestSizes(random: Random): Promise<readonly Size[]> {
  if (!existsSync(AZURE)) {
    return Array.from({ length: MADE_UP_ROWS }, () => {
      return { input: BigInt(random.whole(1, 4_000)), output: BigInt(random.whole(0, 60)) };
    });
  }
  const sizes: Size[] = [];
  for await (const { inputTokens, outputTokens } of readTrace(AZURE))
    sizes.push({ input: inputTokens, output: outputTokens });
  return sizes;
}

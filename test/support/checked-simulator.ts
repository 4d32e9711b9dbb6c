// The Stripe simulator as tests start it: every request to it and every answer of it is held against Stripe's OpenAPI document.
import { expect, onTestFinished } from "vitest";
import {
  type StripeSimulator,
  type StripeSimulatorOptions,
  startStripeSimulator,
} from "../../src/stripe-simulator/server.ts";
import { billingDocument } from "./stripe-openapi/document.ts";
import { type ExchangeCheck, exchangeCheck } from "./stripe-openapi/exchange-check.ts";

let check: ExchangeCheck | undefined;

/**
 * Starts a simulator that ends with the test; the test fails if an exchange did not fit. All events that it made are read once
 * more at its end, so that they are checked too. Without the document, only starts it.
 */
export async function startCheckedSimulator(options: StripeSimulatorOptions = {}): Promise<StripeSimulator> {
  const document = billingDocument();
  if (document === null) {
    const unchecked = await startStripeSimulator(options);
    onTestFinished(() => unchecked.close());
    return unchecked;
  }
  check ??= exchangeCheck(document);
  const checkExchange = check;
  const problems = new Set<string>();
  const errors: unknown[] = [];
  const simulator = await startStripeSimulator({
    onError: (error) => errors.push(error),
    ...options,
    onExchange: (exchange) => {
      for (const problem of checkExchange(exchange)) problems.add(problem);
      options.onExchange?.(exchange);
    },
  });
  onTestFinished(async () => {
    simulator.clearFaults();
    await readAllEvents(simulator.url, options.apiKeys?.[0] ?? "sk_test_x");
    await simulator.close();
    expect([...problems], "exchanges that do not fit Stripe's OpenAPI").toEqual([]);
    expect(errors, "errors in the simulator").toEqual([]);
  });
  return simulator;
}

async function readAllEvents(url: string, key: string): Promise<void> {
  for (let cursor = ""; ; ) {
    const headers = { authorization: `Bearer ${key}` };
    const response = await fetch(`${url}/v1/events?limit=100${cursor}`, { headers }).catch(() => undefined);
    // A test may have closed its simulator.
    if (response === undefined) return;
    const page = (await response.json()) as { data: { id: string }[]; has_more: boolean };
    if (!page.has_more) return;
    cursor = `&starting_after=${page.data.at(-1)?.id}`;
  }
}

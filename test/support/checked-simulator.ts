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
  const headers = { authorization: `Bearer ${key}` };
  for (const first of ["/v1/events?limit=100", "/v2/core/events?limit=100"]) {
    for (let path: string | null = first; path !== null; ) {
      const response = await fetch(`${url}${path}`, { headers }).catch(() => undefined);
      // A test may have closed its simulator, or had it limit the rate of calls.
      if (response?.status !== 200) return;
      path = nextPage((await response.json()) as Page, first);
    }
  }
}

/** v1 goes on after the last id, v2 says where. */
interface Page {
  readonly data: readonly { readonly id: string }[];
  readonly has_more?: boolean;
  readonly next_page_url?: string | null;
}

function nextPage(page: Page, first: string): string | null {
  if (page.has_more === true) return `${first}&starting_after=${page.data.at(-1)?.id}`;
  return page.next_page_url ?? null;
}

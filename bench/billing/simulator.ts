// The simulated Stripe of a run, a process of its own, in memory: `node bench/billing/simulator.ts <customers> <meter>...` makes customers
// and meters, and says where it is on stdout as JSON: {"stripePort":..,"customers":[..]}. SIGTERM ends it.
import { openStripe } from "../../src/stripe/client.ts";
import { ensureMeters } from "../../src/stripe/meters.ts";
import { startStripeSimulator } from "../../src/stripe-simulator/server.ts";

const [count = "1", ...eventNames] = process.argv.slice(2);
const simulator = await startStripeSimulator();
const stripe = openStripe({
  secretKey: "sk_test_bench",
  apiBase: new URL(simulator.url),
  maxSockets: 1,
  timeoutMs: 10_000,
});
await ensureMeters(stripe, eventNames);
const customers: string[] = [];
for (let i = 0; i < Number(count); i += 1) customers.push((await stripe.customers.create({})).id);
process.stdout.write(`${JSON.stringify({ stripePort: simulator.port, customers })}\n`);
process.once("SIGTERM", () => void simulator.close());

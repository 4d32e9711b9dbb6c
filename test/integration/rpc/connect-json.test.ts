// What only JSON callers can get wrong, and what only JSON answers can fail at.
import { expect, test } from "vitest";
import { startTestService } from "./test-service.ts";

async function post(connectUrl: string, rpc: string, body: unknown): Promise<{ status: number; answer: unknown }> {
  const response = await fetch(`${connectUrl}/metering.v1.MeteringService/${rpc}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return { status: response.status, answer: await response.json() };
}

const MEASUREMENTS = [{ meter: "input_tokens", quantity: "5" }];

test("a batch in which an item fails tells so of that item alone, with its details", async () => {
  const { connectUrl } = await startTestService();
  const good = { record: { idempotencyKey: "k", customerId: "c", measurements: MEASUREMENTS } };
  const { status, answer } = await post(connectUrl, "BatchRecordUsage", {
    requests: [{ record: { idempotencyKey: "k" } }, good],
  });
  expect(status).toBe(200);
  expect(answer).toMatchObject({
    results: [
      {
        error: {
          details: expect.arrayContaining([
            expect.objectContaining({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "INVALID_RECORD" }),
          ]),
        },
      },
      { response: { outcome: "RECORD_OUTCOME_RECORDED" } },
    ],
  });
});

test.each([
  [
    "a misspelled field",
    "RecordUsage",
    { record: { idempotencyKey: "k", customerId: "c", measurements: [{ meter: "input_tokens", qty: 5 }] } },
    "qty",
  ],
  ["an unknown enum value", "GetUsage", { customerId: "c", groupBy: ["MODEL"] }, "MODEL"],
])("%s is refused by name, not dropped", async (_, rpc, body, name) => {
  const { connectUrl } = await startTestService();
  const { status, answer } = await post(connectUrl, rpc, body);
  expect(status).toBe(400);
  expect(answer).toMatchObject({ code: "invalid_argument", message: expect.stringContaining(name) });
});

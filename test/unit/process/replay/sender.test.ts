// How a sender counts what it is told, when answers get lost.
import { status as Code } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { PatientCaller, UnreachableError } from "../../../../src/process/replay/patience.ts";
import { RefusedRecordError, sendAll } from "../../../../src/process/replay/sender.ts";
import { CallFailure, type MeteringClient, type Recorded, type RecordToSend } from "../../../../src/rpc/client.ts";
import { testClock } from "../../../support/clock.ts";

type Answer = Recorded | CallFailure;

const STORED: Recorded = { isDuplicate: false, consistencyToken: "t" };
const DUPLICATE: Recorded = { isDuplicate: true, consistencyToken: "t" };
const lost = new CallFailure(Code.UNAVAILABLE, "connection lost", []);
const refused = new CallFailure(Code.INVALID_ARGUMENT, "no", []);

test.each<[string, number, Answer[], number, number]>([
  ["stored at once", 1, [STORED], 1, 0],
  ["its answer lost, then told a duplicate", 1, [lost, DUPLICATE], 1, 0],
  ["not taken, then stored", 1, [lost, STORED], 1, 0],
  ["sent twice", 2, [STORED, DUPLICATE], 1, 1],
  ["sent twice, the answer that it was stored lost", 2, [lost, DUPLICATE, DUPLICATE], 1, 1],
  ["sent twice, both answers lost", 2, [lost, lost, DUPLICATE, DUPLICATE], 1, 1],
  // A service that is wrong must not look right.
  ["sent once, told a duplicate without a reason", 1, [DUPLICATE], 0, 1],
  ["sent twice, stored twice", 2, [STORED, STORED], 2, 0],
])("a record that is %s", async (_name, repeat, answers, acknowledged, duplicates) => {
  const found = await send(answers, repeat);
  expect([found.acknowledged, found.duplicates]).toEqual([acknowledged, duplicates]);
});

test("a record that is refused for good ends the replay and is named", async () => {
  await expect(send([refused], 1)).rejects.toThrow(RefusedRecordError);
  await expect(send([refused], 1)).rejects.toThrow("row 1 was refused: INVALID_ARGUMENT: no");
});

test("a service that stays away ends the replay", async () => {
  await expect(send(Array(100).fill(lost), 1)).rejects.toThrow(UnreachableError);
});

test("of a batch, only what failed is sent again", async () => {
  const calls: RecordToSend[][] = [];
  const client = {
    async batchRecordUsage(records: RecordToSend[]) {
      calls.push(records);
      return records.map((_, i) => (calls.length === 1 && i === 1 ? lost : STORED));
    },
  };
  const { acknowledged } = await sendAll(outgoing(3), { ...options(client), repeat: 1, batchSize: 3 });
  expect(acknowledged).toBe(3);
  expect(calls.map((records) => records.map((record) => record.idempotencyKey))).toEqual([["0", "1", "2"], ["1"]]);
});

function send(answers: readonly Answer[], repeat: number) {
  let call = 0;
  const client = {
    async recordUsage() {
      const answer = answers[call] ?? lost;
      call += 1;
      if (answer instanceof CallFailure) throw answer;
      return answer;
    },
  };
  return sendAll(outgoing(1), { ...options(client), repeat, batchSize: undefined });
}

function options(client: object) {
  const patience = { callTimeoutMs: 1, giveUpAfterMs: 100, clock: testClock(), random: () => 0 };
  const caller = new PatientCaller([client as MeteringClient], patience);
  return { caller, concurrency: 4, recordsPerSecond: undefined, onProgress: () => {} };
}

async function* outgoing(count: number) {
  for (let i = 0; i < count; i += 1) {
    yield { record: { idempotencyKey: String(i) }, customerId: "cus_1", origin: `row ${i + 1}` };
  }
}

// `metering stripe events` as an operator has it, on a real database.
import { expect, test } from "vitest";
import { postgresStripeEventInbox } from "../../../src/postgres/stripe-events.ts";
import { runCommand } from "../../support/command.ts";
import { useServedDatabase } from "../../support/postgres.ts";

test("an operator sees what was given up, and has it applied after all", async () => {
  const { pool, url } = await useServedDatabase();
  const inbox = postgresStripeEventInbox(pool);
  const type = "customer.subscription.updated";
  for (const eventId of ["evt_1", "evt_2", "evt_3"])
    await inbox.store({ eventId, type, objectId: `sub_${eventId}`, createdMs: 1_000, payload: "{}" });
  await inbox.claim([type], 3, 1_000);
  await inbox.failed("evt_1", "Stripe refused", undefined);
  await inbox.failed("evt_2", "Stripe is away", 60_000);
  await inbox.applied("evt_3");
  const events = (...args: string[]) => runCommand(["stripe", "events", ...args], { DATABASE_URL: url });
  const all = await events("list");
  expect(all).toMatchObject({ exitCode: 0, stderr: "" });
  expect(all.stdout).toMatch(
    /^evt_1 {2}customer\.subscription\.updated sub_evt_1: GIVEN UP, 1 attempts\n {4}Stripe refused\nevt_2 .*: next try 20.*\n {4}Stripe is away\n$/,
  );
  expect(JSON.parse((await events("list", "--dead", "--json")).stdout)).toMatchObject([
    { eventId: "evt_1", state: "dead" },
  ]);
  expect(await events("retry", "evt_1", "evt_2")).toMatchObject({
    exitCode: 1,
    stdout: "1 events are tried again.\nevt_2 was not given up, or is not known: nothing was done\n",
  });
  expect(await inbox.claim([type], 3, 1_000)).toMatchObject([{ eventId: "evt_1", attempts: 1 }]);
  await inbox.failed("evt_1", "again", undefined);
  expect(JSON.parse((await events("retry", "--all", "--json")).stdout)).toEqual({ retried: ["evt_1"], left: [] });
  expect(await events("list", "--dead")).toMatchObject({ exitCode: 0, stdout: "none\n" });
  for (const args of [["retry"], ["retry", "evt_1", "--all"]])
    expect(await events(...args)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("name events, or give --all"),
    });
});

// `metering reports` as an operator has it, on a real database.
import { expect, test } from "vitest";
import type { Pool } from "../../../src/postgres/pool.ts";
import { runCommand } from "../../support/command.ts";
import { useServedDatabase } from "../../support/postgres.ts";
import { addUsage, CLOSED_MS } from "../flush/harness.ts";

/** Reports as the flush left them, one a customer. */
async function hold(pool: Pool, customerId: string, state: string, reason: string, message = ""): Promise<string> {
  await addUsage(pool, { customerId, quantity: 5n });
  const identifier = `u-${customerId}`;
  await pool.query(
    `INSERT INTO report (identifier, customer_id, stripe_customer_id, event_name, window_start, sequence, value, event_timestamp, state,
       reason, message, lease_epoch) VALUES ($1, $2, $2, 'tokens', $3, 0, 5, $3, $4, $5, $6, 1)`,
    [identifier, customerId, new Date(CLOSED_MS), state, reason, message],
  );
  await pool.query("UPDATE pending_window SET reported = 5, next_sequence = 1 WHERE customer_id = $1", [customerId]);
  return identifier;
}

test("an operator lists what is held, mends the cause, and sends it again", async () => {
  const { pool, url } = await useServedDatabase();
  const environment = { DATABASE_URL: url };
  const reports = (...args: string[]) => runCommand(["reports", ...args], environment);
  expect(await reports("list")).toMatchObject({ exitCode: 0, stdout: "none\n" });
  const lost = await hold(pool, "cus_a", "held", "no_such_customer", "No such customer: 'cus_a'; HTTP 400");
  const unknown = await hold(pool, "cus_b", "held", "outcome_unknown");
  const planned = await hold(pool, "cus_c", "planned", "");

  const listed = await reports("list");
  expect(listed.stdout).toContain(`${lost}  held: no_such_customer`);
  expect(listed.stdout).toContain("No such customer: 'cus_a'; HTTP 400");
  expect(listed.stdout).not.toContain(planned);
  const json = JSON.parse((await reports("list", "--state", "all", "--json")).stdout);
  expect(json.map((r: { identifier: string }) => r.identifier).sort()).toEqual([lost, unknown, planned].sort());
  expect(JSON.parse((await reports("show", lost)).stdout)).toMatchObject({ report: { state: "held", value: "5" } });

  const shown = (await reports("show", lost, "--json")).stdout;
  expect(shown.indexOf("\n")).toBe(shown.length - 1);
  expect(JSON.parse(shown)).toMatchObject({ report: { identifier: lost } });
  expect((await reports("list", "--state", "held,planned")).stdout).toContain(planned);

  const retried = JSON.parse((await reports("retry", "--reason", "no_such_customer", "--json")).stdout);
  expect(retried).toMatchObject({ retried: [{ origin: lost }], left: [] });
  const [{ identifier } = { identifier: "" }] = retried.retried;
  expect(JSON.parse((await reports("show", lost)).stdout)).toMatchObject({
    report: { state: "superseded" },
    followers: [{ identifier, kind: "retry", state: "planned" }],
  });

  expect(await reports("hold", planned, "--message", "in dispute")).toMatchObject({ exitCode: 0 });
  expect(await reports("hold", planned, "--message", "again")).toMatchObject({ exitCode: 0 });
  expect((await reports("list", "--reason", "operator")).stdout).toContain("in dispute");
});

test("what was settled by hand is written off: listed as such, in no count of what waits, and a retry takes it up again", async () => {
  const { pool, url } = await useServedDatabase();
  const reports = (...args: string[]) => runCommand(["reports", ...args], { DATABASE_URL: url });
  const late = await hold(pool, "cus_a", "held", "late", "its invoice is final");
  const unknown = await hold(pool, "cus_b", "held", "outcome_unknown");
  const other = await hold(pool, "cus_c", "held", "late");
  expect(await reports("write-off", late)).toMatchObject({ exitCode: 2 });
  const written = await reports("write-off", late, unknown, "--message", "invoice item ii_1", "--json");
  expect(written.exitCode).toBe(1);
  expect(JSON.parse(written.stdout)).toEqual({ writtenOff: [late], left: [unknown] });
  // As after an answer that was lost: the same, and why it was written off first stays.
  const again = await reports("write-off", late, "--message", "again", "--json");
  expect({ ...again, stdout: JSON.parse(again.stdout) }).toMatchObject({
    exitCode: 0,
    stdout: { writtenOff: [late], left: [] },
  });

  expect((await reports("list")).stdout).not.toContain(late);
  const listed = (await reports("list", "--state", "written_off")).stdout;
  expect(listed).toContain(`${late}  written_off: late`);
  expect(listed).toContain("written off: invoice item ii_1; before: its invoice is final");
  expect(listed).not.toContain(other);
  const both = JSON.parse((await reports("list", "--state", "written_off,held", "--json")).stdout);
  expect(both.map((r: { identifier: string; state: string }) => `${r.identifier} ${r.state}`).sort()).toEqual([
    `${late} written_off`,
    `${unknown} held`,
    `${other} held`,
  ]);
  expect((await reports("list", "--late")).stdout).toContain(late);
  expect(JSON.parse((await runCommand(["status", "--json"], { DATABASE_URL: url })).stdout)).toMatchObject({
    reports: { held: 2 },
    late: { held: 1 },
  });

  const retried = JSON.parse((await reports("retry", "--reason", "late", "--json")).stdout);
  expect(retried.retried).toMatchObject([{ origin: other }]);
  expect(JSON.parse((await reports("retry", late, "--json")).stdout).retried).toMatchObject([{ origin: late }]);
});

test("what cannot be done is said, with exit code 1, and what is mistyped with 2", async () => {
  const { pool, url } = await useServedDatabase();
  const reports = (...args: string[]) => runCommand(["reports", ...args], { DATABASE_URL: url });
  const unknown = await hold(pool, "cus_b", "held", "outcome_unknown");
  expect(await reports("retry", unknown)).toMatchObject({
    exitCode: 1,
    stdout: expect.stringContaining(`${unknown} is not held, or of unknown outcome: nothing was done`),
  });
  expect(await reports("show", "u-none")).toMatchObject({
    exitCode: 1,
    stderr: "metering: there is no report u-none\n",
  });
  expect(await reports("hold", "u-none")).toMatchObject({ exitCode: 1 });
  expect(await reports("retry")).toMatchObject({
    exitCode: 2,
    stderr: "metering: name reports, or give --reason or --customer\n",
  });
  expect(await reports("list", "--limit", "0")).toMatchObject({ exitCode: 2 });
  expect(await reports("list", "--state", "held,helt")).toMatchObject({
    exitCode: 2,
    stdout: "",
    stderr: expect.stringContaining("no such state: helt"),
  });
  expect(await reports("lunch")).toMatchObject({ exitCode: 2 });
});

// Flushes that somebody asked for, against a real Postgres: when they are done.
import { describe, expect, test } from "vitest";
import { addUsage } from "../flush/harness.ts";
import { ALL, setUp } from "./reports-harness.ts";

describe("flush requests", () => {
  test("are complete when all that was planned for them has been tried", async () => {
    const { pool, planAll, reports, requests, grant, finish } = await setUp();
    await addUsage(pool, { customerId: "cus_1" }, { customerId: "cus_2" });
    const one = await requests.request("cus_1");
    const all = await requests.request(undefined);
    expect(await requests.unplanned()).toEqual([
      { requestId: one, customerId: "cus_1" },
      { requestId: all, customerId: undefined },
    ]);
    await planAll(ALL);
    expect(await requests.complete(grant, "v1")).toBe(0);
    await requests.planned(grant, [one, all]);
    expect(await requests.unplanned()).toEqual([]);
    expect(await requests.complete(grant, "v1")).toBe(0);
    const { claimed } = await reports.claim(grant, 10);
    expect(await requests.complete(grant, "v1")).toBe(0);
    const [first, second] = claimed.toSorted((a, b) => (a.customerId < b.customerId ? -1 : 1));
    if (!first || !second) throw new Error("two were planned");
    await finish(first, { kind: "unknown", message: "timeout" });
    expect(await requests.complete(grant, "v1")).toBe(1);
    expect([await requests.isComplete(one), await requests.isComplete(all)]).toEqual([true, false]);
    await finish(second, { kind: "accepted" });
    expect(await requests.complete(grant, "v1")).toBe(1);
    expect(await requests.isComplete(all)).toBe(true);
  });

  test("are not kept open by usage that came later", async () => {
    const { pool, planAll, requests, grant } = await setUp();
    const requestId = await requests.request(undefined);
    await requests.planned(grant, [requestId]);
    await addUsage(pool, { customerId: "cus_1" });
    await planAll();
    expect(await requests.complete(grant, "v1")).toBe(1);
  });

  test("are forgotten a day after they were done, and count as complete then", async () => {
    const { pool, requests, grant } = await setUp();
    const old = await requests.request(undefined);
    await requests.planned(grant, [old]);
    await requests.complete(grant, "v1");
    await pool.query("UPDATE flush_request SET done_at = now() - interval '25 hours'");
    const open = await requests.request("cus_1");
    expect((await pool.query("SELECT request_id FROM flush_request")).rows).toEqual([{ request_id: String(open) }]);
    expect([await requests.isComplete(old), await requests.isComplete(open)]).toEqual([true, false]);
  });
});

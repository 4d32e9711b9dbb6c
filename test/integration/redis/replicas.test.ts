import { expect, it, onTestFinished } from "vitest";
import { closeRedis } from "../../../src/redis/client.ts";
import { outcomes } from "../../contract/intake.ts";
import { usageRecord } from "../../support/records.ts";
import { describeWithRedis, startRedis } from "../../support/redis.ts";
import { testIntake, testRedis } from "../../support/redis-client.ts";

describeWithRedis("an intake that waits for replicas", () => {
  it("acknowledges what a replica has, and nothing else", async () => {
    const primary = await startRedis(["--repl-diskless-sync-delay", "0"]);
    onTestFinished(() => primary.close());
    const replica = await startRedis(["--replicaof", "127.0.0.1", String(primary.port)]);
    onTestFinished(() => replica.close());
    const client = await testRedis(primary.url);
    onTestFinished(() => closeRedis(client));
    // In step once it has acknowledged a write that came after it had connected.
    do await client.set("probe", "x");
    while ((await client.wait(1, 1_000)) < 1);
    const patient = testIntake(client, { waitReplicas: 1, waitReplicasTimeoutMs: 1_900 });
    const intake = testIntake(client, { waitReplicas: 1, waitReplicasTimeoutMs: 300 });
    const record = usageRecord();
    expect(await outcomes(patient, [record])).toEqual(["recorded"]);
    expect(await outcomes(patient, [record])).toEqual(["duplicate"]);
    const late = usageRecord();
    replica.pause();
    expect(await outcomes(intake, [late])).toEqual(["intake_unavailable"]);
    // Stored at the primary, so a retry finds a duplicate; still it is not to be acknowledged while the replica lacks it.
    expect(await outcomes(intake, [late])).toEqual(["intake_unavailable"]);
    const elsewhere = await testRedis(primary.url);
    onTestFinished(() => closeRedis(elsewhere));
    const other = testIntake(elsewhere, { waitReplicas: 1, waitReplicasTimeoutMs: 300 });
    expect(await outcomes(other, [late])).toEqual(["intake_unavailable"]);
    replica.resume();
    expect(await outcomes(patient, [late])).toEqual(["duplicate"]);
  });
});

// Deployments: processes are told to stop, one after the other, and others take their places; and clocks that somebody sets.
import { Random } from "../random.ts";
import type { Replicas } from "./replicas.ts";
import type { Stores } from "./stores.ts";
import { HOUR_MS, MINUTE_MS, type World } from "./world.ts";

/** While things go wrong. */
export function stopSometimes(world: World, { scheduler, history }: Stores, replicas: Replicas): void {
  const { seed, startMs, endMs } = world;
  const random = new Random(seed, "stops");
  const timeline = scheduler.beside(new Random(seed, "order of stops"));
  const { apis, workers } = replicas.slots;
  const sometime = () => startMs + random.unit() * (endMs - startMs);
  for (let n = random.whole(0, 3); n > 0; n -= 1) {
    const slot = random.whole(0, workers - 1);
    timeline.at(sometime(), () => replicas.stopWorker(slot, timeline, () => {}));
  }
  for (let n = random.whole(0, 2); n > 0; n -= 1) {
    const slot = random.whole(0, apis - 1);
    timeline.at(sometime(), () => replicas.stopApi(slot, timeline));
  }
  for (let n = random.whole(0, 2); n > 0; n -= 1) {
    const isApi = random.chance(0.5);
    const slot = random.whole(0, (isApi ? apis : workers) - 1);
    const byMs = Math.round((random.chance(0.5) ? -1 : 1) * random.spread(100, HOUR_MS));
    timeline.at(sometime(), () => {
      const machine = replicas.machineOf(isApi, slot);
      if (machine === undefined) return;
      history.note(() => `${machine.name}: its clock is set by ${byMs} ms`);
      machine.setClock(byMs);
    });
  }
}

/** With nothing in the way, a process ends in time, and leaves nothing behind: no lease, no shards, no report whose fate it knew. */
export function stopInCalm(world: World, stores: Stores, replicas: Replicas): void {
  const { scheduler, oracle, lease, registry, outbox } = stores;
  const random = new Random(world.seed, "stops in calm");
  const timeline = scheduler.beside(new Random(world.seed, "order of stops in calm"));
  for (let slot = 0; slot < replicas.slots.workers; slot += 1) {
    if (random.chance(0.5)) continue;
    timeline.after(random.spread(1, 120) * MINUTE_MS, () => {
      replicas.stopWorker(slot, timeline, ({ name }, byItself) => {
        if (!byItself) oracle.fail("stop", `${name} does not come to its end when it is told to stop`, name);
        if (lease.holder === name) oracle.fail("stop", `${name} has ended, and holds the lease`, name);
        if (registry.has(name)) oracle.fail("stop", `${name} has ended, and is on the list of workers`, name);
        const epoch = lease.epochOf(name);
        const left = [...outbox.reports.values()].find((r) => r.state === "sending" && r.leaseEpoch === epoch);
        if (left !== undefined)
          oracle.fail("stop", `${name} has ended, and left ${left.identifier} behind`, name, left.identifier);
      });
    });
  }
}

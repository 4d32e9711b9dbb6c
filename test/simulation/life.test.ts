import { setImmediate as turn } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { Activity } from "../../simulation/activity.ts";
import { Life } from "../../simulation/life.ts";

/** A port whose calls are noted and answered in a turn of the event loop. */
function harness() {
  const activity = new Activity();
  onTestFinished(() => activity.close());
  const life = new Life("process", activity);
  const made: string[] = [];
  const port = life.port({
    async call(name: string) {
      made.push(name);
      await turn();
      return name;
    },
  });
  const heard: string[] = [];
  const call = (name: string) => void port.call(name).then((answer) => heard.push(answer));
  return { activity, life, call, made, heard };
}

test("a process that lives is answered", async () => {
  const { activity, call, made, heard } = harness();
  call("a");
  await activity.quiet();
  expect([made, heard]).toEqual([["a"], ["a"]]);
});

test("death before a call: it is not made, and what was under way is not heard of", async () => {
  const { activity, life, call, made, heard } = harness();
  life.doom({ fate: "death", callsLeft: 0, strikes: "before" });
  call("a");
  call("b");
  await activity.quiet();
  expect([made, heard, life.isDead]).toEqual([[], [], true]);
});

test("death after a call: it is done, but its answer is not heard", async () => {
  const { activity, life, call, made, heard } = harness();
  life.doom({ fate: "death", callsLeft: 1, strikes: "after" });
  call("a");
  await activity.quiet();
  call("b");
  await activity.quiet();
  call("c");
  await activity.quiet();
  expect([made, heard, life.isDead]).toEqual([["a", "b"], ["a"], true]);
});

test("who is stopped makes no call and hears nothing, and time passes; then all of it goes on", async () => {
  const { activity, life, call, made, heard } = harness();
  life.doom({ fate: "stop", callsLeft: 0, strikes: "after" });
  call("a");
  await activity.quiet();
  call("b");
  await activity.quiet();
  expect([made, heard]).toEqual([["a"], []]);
  life.resume();
  await activity.quiet();
  expect([made, heard, life.isDead]).toEqual([["a", "b"], ["a", "b"], false]);
});

test("time stands still while a call is under way, and not for the calls of the dead", async () => {
  const { activity, life } = harness();
  const { promise, resolve } = Promise.withResolvers<void>();
  void life.port({ wait: () => promise }).wait();
  let calm = false;
  const quiet = activity.quiet().then(() => {
    calm = true;
  });
  for (let i = 0; i < 20; i += 1) await turn();
  expect(calm).toBe(false);
  life.die();
  await quiet;
  resolve();
});

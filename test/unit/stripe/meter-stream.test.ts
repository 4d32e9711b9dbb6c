// The stream: every row of what Stripe may answer, over the wire and through the official SDK, and the life of its session.
import { describe, expect, test } from "vitest";
import type { Report } from "../../../src/domain/report.ts";
import { openStripe } from "../../../src/stripe/client.ts";
import { stripeMeterStream } from "../../../src/stripe/meter-stream.ts";
import { movingClock } from "../../support/moving-clock.ts";
import { invalid, type Row, reset, rowsOfAnyCall } from "./answers.ts";
import { type Answer, json, type SeenRequest, startStandIn, stripeError } from "./stand-in.ts";

const SESSION = "/v2/billing/meter_event_session";
const STREAM = "/v2/billing/meter_event_stream";
const MINUTE_MS = 60_000;
const never = new AbortController().signal;

function reportOf(sequence: number): Report {
  return {
    identifier: `u-1700000000-${sequence}-0123456789abcdef`,
    kind: "usage",
    origin: undefined,
    customerId: "acme",
    stripeCustomerId: "cus_1",
    eventName: "input_tokens",
    payload: '{"model":"m","token_type":"input"}',
    windowStartMs: 1_700_000_000_000,
    sequence,
    value: 123_456_789_012_345n,
    timestampMs: 1_700_000_000_000,
    late: false,
  };
}

const reports = [reportOf(0), reportOf(1), reportOf(2)];
const [one] = [reports.slice(0, 1)];
const each = <T>(outcome: T) => reports.map(() => outcome);

/** Answers a session with the next token, by a clock that is years away from ours; `lifeMs` undefined: it does not say how long. */
function sessions(lifeMs: number | undefined = 15 * MINUTE_MS): Answer {
  let opened = 0;
  return (response, request) => {
    opened += 1;
    const createdMs = Date.UTC(2040, 0, 1);
    json(200, {
      id: `mes_${opened}`,
      object: "v2.billing.meter_event_session",
      authentication_token: `token_${opened}`,
      ...(lifeMs !== undefined && {
        created: new Date(createdMs).toISOString(),
        expires_at: new Date(createdMs + lifeMs).toISOString(),
      }),
      livemode: false,
    })(response, request);
  };
}

const taken = json(200, {});
const sessionExpired = stripeError(401, {
  type: "temporary_session_expired",
  code: "billing_meter_event_session_expired",
  message: "The session has expired.",
});

/** A stand-in with a session route, and a sink on it. `stream` answers the stream, one after another; the last one from then on. */
async function open(options: { session?: Answer; stream?: Answer[]; timeoutMs?: number; limitMs?: number }) {
  const { session = sessions(), stream = [taken], timeoutMs = 5_000, limitMs = 10_000 } = options;
  const answers = [...stream];
  const standIn = await startStandIn((response, request) => {
    if (request.path === SESSION) return session(response, request);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    return answer?.(response, request);
  });
  const clock = movingClock(1_000_000);
  const stripe = openStripe({ secretKey: "sk_test_1", apiBase: standIn.url, maxSockets: 8, timeoutMs });
  const to = (path: string): SeenRequest[] => standIn.requests.filter((request) => request.path === path);
  return {
    sink: stripeMeterStream(stripe, clock, limitMs),
    clock,
    sessions: () => to(SESSION),
    streamed: () => to(STREAM),
    tokens: () => to(STREAM).map((request) => request.headers.authorization?.replace("Bearer ", "")),
  };
}

const rows: readonly Row[] = [
  ["200 with nothing", taken, { kind: "taken" }],
  ["200 with more than nothing: no proof, but Stripe's", json(200, { object: "v2.anything" }), { kind: "taken" }],
  ...rowsOfAnyCall,
  ["401, the session has expired", sessionExpired, { kind: "throttled" }],
  [
    "429 by v2's type",
    stripeError(429, { type: "rate_limit", code: "rate_limit", message: "slow" }),
    { kind: "throttled" },
  ],
  [
    "idempotency error, of a key that was never used before",
    stripeError(400, { type: "idempotency_error", message: "?" }),
    { kind: "unknown" },
  ],
  [
    "500 with v2's code of a bad request",
    stripeError(500, { code: "invalid_fields", message: "?" }),
    { kind: "unknown" },
  ],
];

describe("an answer of Stripe's to a request becomes the outcome of each of its reports", () => {
  test.each(rows)("%s", async (_, answer, outcome) => {
    const { sink, streamed } = await open({ stream: [answer] });
    expect(await sink.send(reports, never)).toMatchObject(each(outcome));
    expect(streamed()).toHaveLength(1);
  });
});

/** The whole request is refused: three events are to be split, of one it is known to be at fault. */
const refusals: readonly Row[] = [
  ["v2's code, without a type", stripeError(400, { code: "invalid_fields", message: "?" }), { code: "other" }],
  ["any other 400", invalid("Received unknown parameter: foo"), { code: "other" }],
  ["too big", invalid("Request entity too large", undefined, 413), { code: "other" }],
  ["unprocessable", invalid("?", undefined, 422), { code: "other" }],
  ["no meter", invalid("?", "no_meter"), { code: "no_active_meter" }],
  ["archived meter", invalid("?", "archived_meter"), { code: "no_active_meter" }],
  ["no customer", invalid("?", "payload_no_customer_defined"), { code: "unfit_meter" }],
  ["no value", invalid("?", "payload_no_value_defined"), { code: "unfit_meter" }],
  ["value", invalid("?", "payload_invalid_value"), { code: "invalid_value" }],
  ["too old", invalid("?", "timestamp_too_far_in_past"), { code: "timestamp_too_old" }],
  ["in the future", invalid("?", "timestamp_in_future"), { code: "timestamp_in_future" }],
];

describe("a request that is refused as a whole does not condemn its reports", () => {
  test.each(refusals)("%s", async (_, answer, outcome) => {
    const { sink } = await open({ stream: [answer] });
    expect(await sink.send(reports, never)).toBe("split");
    expect(await sink.send(one, never)).toMatchObject([{ kind: "refused", ...outcome }]);
  });

  test("a duplicate, should the stream ever tell", async () => {
    const { sink } = await open({ stream: [invalid("?", "duplicate_meter_event")] });
    expect(await sink.send(reports, never)).toBe("split");
    expect(await sink.send(one, never)).toEqual([{ kind: "duplicate" }]);
  });
});

test("the request carries the frozen reports, and the session's token instead of the key", async () => {
  const { sink, sessions: asked, streamed } = await open({});
  await sink.send(reports, never);
  expect(asked()[0]?.headers.authorization).toBe("Bearer sk_test_1");
  const [request] = streamed();
  expect(request?.headers.authorization).toBe("Bearer token_1");
  expect(request?.headers["x-stripe-client-telemetry"]).toBeUndefined();
  expect(JSON.parse(request?.text ?? "")).toEqual({
    events: reports.map(({ identifier }) => ({
      event_name: "input_tokens",
      identifier,
      timestamp: "2023-11-14T22:13:20.000Z",
      payload: { model: "m", token_type: "input", stripe_customer_id: "cus_1", value: "123456789012345" },
    })),
  });
});

test("a batch that is sent again has a key of its own", async () => {
  const { sink, streamed } = await open({});
  await sink.send(reports, never);
  await sink.send(reports, never);
  const keys = streamed().map((request) => request.headers["idempotency-key"]);
  expect(new Set(keys).size).toBe(2);
});

describe("the session", () => {
  test("is one for all requests, however many begin at once", async () => {
    const { sink, sessions: asked, streamed } = await open({});
    const answers = await Promise.all(Array.from({ length: 30 }, () => sink.send(reports, never)));
    expect(answers).toEqual(answers.map(() => each({ kind: "taken" })));
    expect([asked().length, streamed().length]).toEqual([1, 30]);
  });

  test("is renewed at two thirds of its life, without a wait, by our clock and not by Stripe's", async () => {
    const { sink, clock, sessions: asked, tokens } = await open({});
    await sink.send(one, never);
    clock.move(10 * MINUTE_MS - 1);
    await sink.send(one, never);
    expect(asked()).toHaveLength(1);
    clock.move(1);
    await sink.send(one, never);
    await expect.poll(() => asked().length).toBe(2);
    const nextToken = async () => {
      await sink.send(one, never);
      return tokens().at(-1);
    };
    await expect.poll(nextToken).toBe("token_2");
    expect(tokens().slice(0, 3)).toEqual(["token_1", "token_1", "token_1"]);
    expect(asked()).toHaveLength(2);
  });

  test("that could not be renewed serves to its end, and is not asked for at every turn", async () => {
    const opens = sessions();
    let away = false;
    const session: Answer = (...args) => (away ? json(503, { error: { message: "down" } }) : opens)(...args);
    const { sink, clock, sessions: asked, tokens } = await open({ session });
    await sink.send(one, never);
    away = true;
    clock.move(14 * MINUTE_MS);
    for (let i = 0; i < 20; i++) expect(await sink.send(one, never)).toEqual([{ kind: "taken" }]);
    await expect.poll(() => asked().length).toBe(2);
    clock.move(MINUTE_MS);
    expect(await sink.send(reports, never)).toMatchObject(each({ kind: "throttled" }));
    away = false;
    expect(await sink.send(one, never)).toEqual([{ kind: "taken" }]);
    expect(tokens().at(-1)).toBe("token_2");
  });

  test("that Stripe takes for expired is replaced by one other, and nothing that was sent with it is unknown", async () => {
    const expired = new Set(["Bearer token_1"]);
    const stream: Answer = (response, request) =>
      (expired.has(request.headers.authorization ?? "") ? sessionExpired : taken)(response, request);
    const { sink, sessions: asked } = await open({ stream: [stream] });
    const answers = await Promise.all(Array.from({ length: 10 }, () => sink.send(one, never)));
    expect(answers).toMatchObject(answers.map(() => [{ kind: "throttled" }]));
    const again = await Promise.all(Array.from({ length: 10 }, () => sink.send(one, never)));
    expect(again).toEqual(again.map(() => [{ kind: "taken" }]));
    expect(asked()).toHaveLength(2);
  });

  test("whose refusal comes late does not cost its successor", async () => {
    let late: (() => void) | undefined;
    const slow: Answer = (response, request) => {
      late = () => sessionExpired(response, request);
    };
    const { sink, sessions: asked, tokens } = await open({ stream: [slow, sessionExpired, taken] });
    const first = sink.send(one, never);
    await expect.poll(() => late).toBeDefined();
    await sink.send(one, never);
    await sink.send(one, never);
    late?.();
    expect(await first).toMatchObject([{ kind: "throttled" }]);
    await sink.send(one, never);
    expect(tokens()).toEqual(["token_1", "token_1", "token_2", "token_2"]);
    expect(asked()).toHaveLength(2);
  });

  test("that does not say how long it lasts is taken for one of 15 minutes", async () => {
    const { sink, clock, sessions: asked } = await open({ session: sessions(undefined) });
    await sink.send(one, never);
    clock.move(10 * MINUTE_MS - 1);
    await sink.send(one, never);
    expect(asked()).toHaveLength(1);
    clock.move(5 * MINUTE_MS + 1);
    await sink.send(one, never);
    expect(asked()).toHaveLength(2);
  });

  test.each<Row>([
    ["500", stripeError(500, { type: "api_error", message: "?" }), {}],
    ["401", invalid("Invalid API Key", undefined, 401), {}],
    ["429", invalid("slow", "rate_limit", 429), {}],
    ["reset", reset, {}],
    ["200 without a token", json(200, {}), {}],
  ])("cannot be opened, %s: nothing was sent, so nothing is unknown", async (_, session) => {
    const { sink, streamed } = await open({ session });
    expect(await sink.send(reports, never)).toMatchObject(
      each({ kind: "throttled", message: expect.stringContaining("no session") }),
    );
    expect(streamed()).toHaveLength(0);
  });
});

describe("where there is no answer", () => {
  test("a silent server: unknown, after the client's timeout", async () => {
    const { sink } = await open({ stream: [() => {}], timeoutMs: 100 });
    expect(await sink.send(reports, never)).toMatchObject(each({ kind: "unknown" }));
  });

  test("an answer that drips in without end: unknown, after the limit", async () => {
    const drip: Answer = (response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const timer = setInterval(() => response.write(" "), 20);
      response.on("close", () => clearInterval(timer));
    };
    const { sink } = await open({ stream: [drip], limitMs: 200 });
    expect(await sink.send(reports, never)).toMatchObject(each({ kind: "unknown" }));
  });

  test("an abort ends the wait at once, and nothing is sent after one", async () => {
    const abort = new AbortController();
    const { sink, streamed } = await open({ stream: [() => abort.abort()] });
    expect(await sink.send(reports, abort.signal)).toMatchObject(each({ kind: "unknown" }));
    expect(await sink.send(reports, abort.signal)).toMatchObject(each({ kind: "unknown" }));
    expect(streamed()).toHaveLength(1);
  });
});

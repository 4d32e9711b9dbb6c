// The webhook port over real HTTP: what it refuses, and that nothing of it is stored.
import { createHmac } from "node:crypto";
import { request } from "node:http";
import { describe, expect, test } from "vitest";
import { WEBHOOK_PATH } from "../../../src/webhook/app.ts";
import {
  BODY_MAX,
  type Delivery,
  deliver,
  eventBody,
  nowSeconds,
  outcomes,
  SECRET,
  server,
  sign,
  storedIds,
  storedSignals,
} from "./http-harness.ts";

describe("refused, with the reason, and nothing stored", () => {
  const body = eventBody({ id: "evt_refused" });
  test.each<[string, string, Delivery, number, string]>([
    ["no signature", body, { headers: { "stripe-signature": "" } }, 400, "signature_missing"],
    ["forged", body, { headers: { "stripe-signature": sign(body, "whsec_forged") } }, 400, "signature_invalid"],
    ["signed for another body", body, { headers: { "stripe-signature": sign(`${body} `) } }, 400, "signature_invalid"],
    [
      "stale",
      body,
      { headers: { "stripe-signature": sign(body, SECRET, nowSeconds() - 310) } },
      400,
      "timestamp_too_old",
    ],
    [
      "future",
      body,
      { headers: { "stripe-signature": sign(body, SECRET, nowSeconds() + 400) } },
      400,
      "timestamp_in_future",
    ],
    ["garbage, truly signed", "{]", {}, 400, "body_invalid"],
    ["JSON that is no event, truly signed", '{"id":"evt_refused"}', {}, 400, "body_invalid"],
    ["no body", "", { headers: { "stripe-signature": sign(body) } }, 400, "signature_invalid"],
    ["oversize", body + " ".repeat(BODY_MAX), {}, 413, "body_too_large"],
    ["another content type", body, { headers: { "content-type": "text/plain" } }, 415, "content_type_unsupported"],
    [
      "almost the content type",
      body,
      { headers: { "content-type": "application/jsonp" } },
      415,
      "content_type_unsupported",
    ],
    ["compressed", body, { headers: { "content-encoding": "gzip" } }, 415, "content_type_unsupported"],
    ["another path", body, { path: "/" }, 404, "not_found"],
    ["a path below", body, { path: `${WEBHOOK_PATH}/x` }, 404, "not_found"],
    ["a path that is no path", body, { path: "/%" }, 404, "not_found"],
    ["another case", body, { path: "/Webhooks/stripe" }, 404, "not_found"],
    ["a trailing slash", body, { path: `${WEBHOOK_PATH}/` }, 404, "not_found"],
    ["GET", body, { method: "GET" }, 405, "method_not_allowed"],
    ["PUT", body, { method: "PUT" }, 405, "method_not_allowed"],
    ["OPTIONS", body, { method: "OPTIONS" }, 405, "method_not_allowed"],
  ])("%s", async (_, sent, delivery, status, reason) => {
    const response = await deliver(sent, delivery);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ error: { reason, message: expect.stringMatching(/\w/) } });
    expect(response.headers.get("allow")).toBe(status === 405 ? "POST" : null);
    expect(outcomes).toEqual(["refused"]);
    expect(await storedIds()).not.toContain("evt_refused");
  });

  test("HEAD", async () => {
    const response = await deliver("", { method: "HEAD" });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test("oversize without saying so beforehand", async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = { "content-type": "application/json", "stripe-signature": sign(body) };
      const sent = request({ port: server.port, path: WEBHOOK_PATH, method: "POST", headers }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode));
      });
      sent.on("error", reject);
      for (let i = 0; i < 4; i++) sent.write(" ".repeat(BODY_MAX / 2));
      sent.end();
    });
    expect(status).toBe(413);
  });
});

describe("forged: whatever is sent, nothing that Stripe did not sign is stored", () => {
  const SIGNED = eventBody({ id: "evt_genuine" });
  const hmac = (secret: string, text: string) => createHmac("sha256", secret).update(text).digest("hex");
  const t = () => nowSeconds();
  const genuine = () => sign(SIGNED);
  const v1 = () => genuine().split("v1=")[1] ?? "";

  test.each<[string, () => { body?: string; header: string }]>([
    ["a signature of zeros", () => ({ header: `t=${t()},v1=${"0".repeat(64)}` })],
    ["an empty signature", () => ({ header: `t=${t()},v1=` })],
    ["a signature that is cut short", () => ({ header: genuine().slice(0, -1) })],
    ["a signature with more behind it", () => ({ header: `${genuine()}00` })],
    ["only the test scheme v0", () => ({ header: `t=${t()},v0=${v1()}` })],
    ["no scheme", () => ({ header: `t=${t()}` })],
    ["no time", () => ({ header: `v1=${v1()}` })],
    ["a time that is no number", () => ({ header: genuine().replace(/t=\d+/, "t=now") })],
    ["another time than was signed", () => ({ header: genuine().replace(/t=\d+/, `t=${t() - 1}`) })],
    ["a second time behind the signed one", () => ({ header: `${genuine()},t=${t() - 1}` })],
    ["an old delivery under a fresh time", () => ({ header: `${sign(SIGNED, SECRET, t() - 4_000)},t=${t()}` })],
    ["signed without the time", () => ({ header: `t=${t()},v1=${hmac(SECRET, SIGNED)}` })],
    [
      "signed with the secret without its prefix",
      () => ({ header: `t=${t()},v1=${hmac(SECRET.slice("whsec_".length), `${t()}.${SIGNED}`)}` }),
    ],
    ["signed with an empty secret", () => ({ header: `t=${t()},v1=${hmac("", `${t()}.${SIGNED}`)}` })],
    ["signed with the body as secret", () => ({ header: `t=${t()},v1=${hmac(SIGNED, `${t()}.${SIGNED}`)}` })],
    [
      "another event under a genuine signature",
      () => ({ body: eventBody({ id: "evt_genuine", type: "invoice.paid" }), header: genuine() }),
    ],
    ["one byte changed", () => ({ body: SIGNED.replace("sub_1", "sub_2"), header: genuine() })],
    [
      "the same JSON, spaced otherwise",
      () => ({ body: JSON.stringify(JSON.parse(SIGNED), null, 1), header: genuine() }),
    ],
    ["twice in one body", () => ({ body: SIGNED + SIGNED, header: genuine() })],
    ["garbage for a header", () => ({ header: ",,=,=v1;t" })],
    ["a very long header", () => ({ header: `t=${t()},${"v1=ab,".repeat(1_000)}` })],
  ])("%s", async (_, make) => {
    const { body = SIGNED, header } = make();
    const response = await deliver(body, { headers: { "stripe-signature": header } });
    expect(response.status).toBe(400);
    const reason = expect.stringMatching(/^(signature_invalid|timestamp_too_old)$/);
    expect(await response.json()).toMatchObject({ error: { reason } });
    expect(outcomes).toEqual(["refused"]);
    expect(storedSignals).toBe(0);
    expect(await storedIds()).not.toContain("evt_genuine");
  });

  test("a byte order mark before it: the SDK passes over it, and then it is no JSON", async () => {
    const response = await deliver(`\uFEFF${SIGNED}`, { headers: { "stripe-signature": genuine() } });
    expect(await response.json()).toMatchObject({ error: { reason: "body_invalid" } });
    expect(await storedIds()).not.toContain("evt_genuine");
  });

  test("many signatures of which one is genuine: taken, as while a secret is rolled", async () => {
    const body = eventBody();
    const header = sign(body).replace(",v1=", `,v1=${"0".repeat(64)},v0=${"1".repeat(64)},v1=`);
    expect((await deliver(body, { headers: { "stripe-signature": header } })).status).toBe(200);
  });
});

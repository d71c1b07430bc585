/** The 503/504 rule, several base URLs, timeouts, errors, limits. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, Denied, OutcomeUnknown, Refused, ServerFault, Unavailable, batches } from "fanmail";

import { problem, published, quick, refusing, serving } from "./fakes.js";

const unavailable = problem(503, "broker-down");
const unknown = problem(504, "outcome-unknown");
const message = '{"id":"e-1","time":"2026-01-01T00:00:00Z","attempt":1,"type":"a/b","text":"x"}\n';
const taken = [200, { "Msg-Pending": "0" }, message];

test("503 is retried for every call, as nothing was executed", async (t) => {
  const { url, requests } = await serving(t, unavailable, unavailable, taken);
  const client = new Client(url, { retries: quick });
  assert.equal((await client.receive("news", "ann")).text, "x");
  assert.equal(requests.length, 3);
});

test("504 and a lost connection are retried with the same key", async (t) => {
  const { url, requests } = await serving(t, unknown, "cut", published);
  const client = new Client(url, { retries: quick });
  assert.equal((await client.publish("news", "x")).id, "e-1");
  const keys = new Set(requests.map((each) => each.headers["idempotency-key"]));
  assert.equal(requests.length, 3);
  assert.equal(keys.size, 1);
  assert.match([...keys][0], /^[0-9a-f]{32}$/);
  await client.publish("news", "y");
  assert.ok(!keys.has(requests.at(-1).headers["idempotency-key"]));
});

test("what may have been executed is not repeated without a key, a cursor or a lease", async (t) => {
  const calls = {
    keyless: (client) => client.publish("news", "x", { key: "" }),
    take: (client) => client.receive("news", "ann"),
    putBack: (client) => client.putBackDead("news", "ann"),
    drop: (client) => client.dropDead("news", "ann"),
  };
  for (const answer of [unknown, "cut", problem(502, "")]) {
    for (const call of Object.values(calls)) {
      const { url, requests } = await serving(t, answer);
      await assert.rejects(call(new Client(url, { retries: quick })), OutcomeUnknown);
      assert.equal(requests.length, 1);
    }
  }
  for (const options of [{ after: "0" }, { lease: 5 }]) {
    const { url } = await serving(t, unknown, "cut", taken);
    assert.equal((await new Client(url, { retries: quick }).receive("news", "ann", options)).text, "x");
  }
});

test("an outcome that was unknown once stays so", async (t) => {
  const { url } = await serving(t, unknown, problem(503, "broker-down", { "Retry-After": "60" }));
  const client = new Client(url, { retries: quick });
  const error = await client.publish("news", "x").catch((each) => each);
  assert.ok(error instanceof OutcomeUnknown);
  assert.equal(error.code, "broker-down");
});

test("404 in response to a repeat of unsubscribe means that it was done", async (t) => {
  const { url } = await serving(t, unknown, problem(404, "no-subscription"));
  await new Client(url, { retries: quick }).unsubscribe("news", "ann");
});

test("retries end, and the error has all facts", async (t) => {
  const { url } = await serving(t, problem(503, "loading", { "X-Request-Id": "r-1", "Retry-After": "1" }));
  const noted = [];
  const retries = { ...quick, total: 0.5, onRetry: (error) => noted.push(error.code) };
  const error = await new Client(url, { retries }).publish("news").catch((each) => each);
  assert.ok(error instanceof Unavailable);
  const { code, status, detail, retryAfter, requestId, name, fields } = error;
  assert.deepEqual([code, status, detail, retryAfter], ["loading", 503, "because of loading", 1]);
  assert.deepEqual([requestId, name, fields.title], ["r-1", "Unavailable", "a title"]);
  assert.equal(error.message, "503 loading: because of loading");
  assert.deepEqual(noted, []); // the pause would have been longer than the rest of the time
  const { url: second, requests } = await serving(t, unavailable);
  await assert.rejects(new Client(second, { retries: { total: 0 } }).publish("news"), Unavailable);
  assert.equal(requests.length, 1);
});

test("429 is thrown at once, or retried if the client says so", async (t) => {
  const full = problem(429, "topic-full");
  const { url } = await serving(t, full);
  await assert.rejects(new Client(url).publish("news"), Refused);
  const { url: second } = await serving(t, full, full, published);
  assert.equal((await new Client(second, { retries: { ...quick, refused: true } }).publish("news")).id, "e-1");
});

test("the next base URL is asked at once, and stays in use", async (t) => {
  const { url, requests } = await serving(t, published);
  const client = new Client([await refusing(), url], { retries: { base: 30, maxPause: 30 } });
  await client.publish("news", "x");
  await client.publish("news", "y");
  assert.equal(requests.length, 2);
  const alone = new Client(await refusing(), { retries: { total: 0 } });
  await assert.rejects(alone.receive("news", "ann"), Unavailable); // it was not sent, so it was not executed
});

test("a response that does not come is an unknown outcome", async (t) => {
  const { url } = await serving(t, () => undefined);
  const client = new Client(url, { timeout: 0.05, retries: { total: 0 } });
  const error = await client.publish("news").catch((each) => each);
  assert.ok(error instanceof OutcomeUnknown);
  assert.match(error.message, /no response within 0.05 s/);
});

test("a redirect is not followed, so the key goes nowhere else", async (t) => {
  const other = await serving(t, published);
  const { url, requests } = await serving(t, [307, { Location: `${other.url}/news` }]);
  await assert.rejects(new Client(url, { apiKey: "fm_a_b" }).publish("news"), ServerFault);
  assert.equal(requests[0].headers.authorization, "Bearer fm_a_b");
  assert.equal(other.requests.length, 0);
});

test("responses that are not of this API are faults", async (t) => {
  for (const answer of [[200, {}, "<html>"], [500, {}, "oops"], [200, { "Msg-Subscribers": "many" }]]) {
    const { url } = await serving(t, answer);
    await assert.rejects(new Client(url, { retries: quick }).publish("news"), ServerFault);
  }
  for (const body of ["{", "[]\n", '{"id":"e-1"}\n', '{"id":1}\n']) {
    const { url } = await serving(t, [200, { "Msg-Pending": "0" }, body]);
    await assert.rejects(new Client(url).receive("news", "ann"), ServerFault);
  }
});

test("a response over the limit is not read to its end", async (t) => {
  const { url } = await serving(t, [200, { "Msg-Pending": "0" }, "x".repeat(1000)]);
  const client = new Client(url, { maxResponseBytes: 999 });
  await assert.rejects(client.receive("news", "ann"), /more than 999 bytes/);
});

test("plain text of an error becomes its detail", async (t) => {
  const { url } = await serving(t, [413, { "Content-Type": "text/plain" }, "too\n  large\n"]);
  await assert.rejects(new Client(url).publish("news"), { name: "TooLarge", detail: "too large", code: "" });
  const refusal = "413 Content Too Large\nover 9 bytes\n";
  const { url: ours } = await serving(t, [413, { "Content-Type": "text/plain" }, refusal]);
  await assert.rejects(new Client(ours).publish("news"), { message: "413: over 9 bytes" });
  const { url: second } = await serving(t, [401]);
  await assert.rejects(new Client(second).publish("news"), Denied);
});

test("wrong arguments of the constructor are named without secrets", () => {
  const wrong = [[[]], ["ftp://a"], ["http://a/?b"], ["nonsense"], ["http://ann:secret@a"]];
  wrong.push([undefined, { apiKey: "secret key" }], [undefined, { headers: { "X-A": "secret\n" } }]);
  for (const [urls, options] of wrong) {
    assert.throws(
      () => new Client(urls, options),
      (error) => error instanceof TypeError && !error.message.includes("secret"),
    );
  }
  assert.throws(() => new Client("http://a", { apiKey: "k", headers: { authorization: "Basic x" } }), TypeError);
});

test("a base URL may have a path, and numbers are decimal", async (t) => {
  const { url, requests } = await serving(t, published);
  await new Client(`${url}/fan/`).publish("a/b", "x", { ttl: 0.0000015, delay: 1e3 });
  assert.equal(requests[0].url, "/fan/a%2Fb?ttl=0.000002&delay=1000");
  await assert.rejects(new Client(url).publish("a", "x", { ttl: NaN }), TypeError);
});

test("messages are split into batches", () => {
  assert.deepEqual([...batches(Array(25).fill("x"), 10)].map((each) => each.length), [10, 10, 5]);
  assert.deepEqual([...batches(["aa", "b", "c"], 10, 10)].map((each) => each.length), [1, 2]);
  assert.deepEqual([...batches([])], []);
});

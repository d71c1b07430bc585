/** What the loops do when streams break, lines are wrong and leases are lost. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, Denied, NoSubscription, ServerFault } from "fanmail";

import { line, problem, quick, refusing, serving, streaming, until } from "./fakes.js";

const ok = [200];
const event = (members) => `${JSON.stringify(members)}\n`;

async function read(client, count, options) {
  const seen = [];
  if (!count) return seen;
  for await (const message of client.stream("news", "ann", options)) {
    seen.push(message.text);
    if (seen.length === count) break;
  }
  return seen;
}

/** Serve the answers to GET, and 200 to PATCH. Return the queries of both. */
async function servingStreams(t, ...answers) {
  const asked = [];
  const confirmed = [];
  const { url } = await serving(t, (request, response) => {
    const { searchParams } = new URL(request.url, "http://a");
    if (request.method === "PATCH") {
      confirmed.push(searchParams.get("after"));
      response.writeHead(200).end();
      return;
    }
    asked.push(searchParams.get("after"));
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === "cut") request.socket.destroy();
    else if (typeof answer === "function") answer(request, response);
    else response.writeHead(answer[0], answer[1]).end(answer[2]);
  });
  return { url, asked, confirmed };
}

test("a stream comes back after whatever is not final, behind what was handled", async (t) => {
  const stops = event({ event: "error", status: 503, code: "draining", detail: "stops" });
  const { url, asked, confirmed } = await servingStreams(
    t,
    problem(503, "broker-down"),
    streaming(["\n", line(1), line(2)]),
    "cut",
    problem(409, "leases-out"),
    problem(500, "internal"),
    problem(429, "too-many"),
    streaming([line(3), stops]),
    streaming([event({ event: "novelty" }), line(4), line(5)], false),
  );
  assert.deepEqual(await read(new Client(url, { retries: quick }), 5), [1, 2, 3, 4, 5].map((each) => `text ${each}`));
  assert.deepEqual(asked, ["0", "0", "e-2", "e-2", "e-2", "e-2", "e-2", "e-3"]);
  assert.equal(confirmed.at(-1), "e-4"); // at the end; the last one was not handled
});

test("a stream moves to another server", async (t) => {
  const { url } = await servingStreams(t, streaming([line(1)], false));
  assert.deepEqual(await read(new Client([await refusing(), url], { retries: quick }), 1), ["text 1"]);
});

test("a stream ends at statuses that stay", async (t) => {
  for (const [status, kind] of [[400, "BadRequest"], [401, "Denied"], [403, "Denied"], [404, "NotFound"]]) {
    const { url, asked } = await servingStreams(t, problem(status, "some-code"));
    await assert.rejects(read(new Client(url, { retries: quick }), 1), { name: kind, status });
    assert.equal(asked.length, 1);
  }
  const gone = event({ event: "end", status: 404, code: "no-subscription", detail: "unsubscribed" });
  const { url } = await servingStreams(t, streaming([gone]));
  await assert.rejects(read(new Client(url), 1), NoSubscription);
  const denied = event({ event: "end", status: 401, code: "unauthorized" });
  const { url: second } = await servingStreams(t, streaming([denied]));
  await assert.rejects(read(new Client(second), 1), Denied);
});

test("gaps and lost cursors are announced", async (t) => {
  const lost = [410, { "Content-Type": "application/problem+json" }, '{"code": "cursor-lost", "oldest": "f-1"}'];
  const gap = event({ event: "gap", from: "e-1", position: "e-5" });
  const { url, asked } = await servingStreams(t, streaming([gap, line(5)]), lost, streaming([line(6)], false));
  const gaps = [];
  await read(new Client(url, { retries: quick }), 2, { onGap: (each) => gaps.push(each) });
  assert.deepEqual(gaps, [{ from: "e-1", position: "e-5" }, { from: "e-5", position: "f-1" }]);
  assert.deepEqual(asked, ["0", "e-5", "0"]);
  const warnings = [];
  const { url: second } = await servingStreams(t, streaming([gap, line(5)], false));
  await read(new Client(second, { warn: (text) => warnings.push(text) }), 1);
  assert.match(warnings[0], /messages from e-1 on .* going on at e-5/);
});

test("lines come in any parts", async (t) => {
  const bytes = Buffer.from(["\n", line(1, "ä\u2028😀"), line(2), "\n\n", line(3)].join(""));
  for (const size of [1, 2, 7, 1000]) {
    const { url } = await servingStreams(t, async (_, response) => {
      response.writeHead(200);
      for (let start = 0; start < bytes.length; start += size) {
        response.write(bytes.subarray(start, start + size));
        if (size < 1000) await new Promise(setImmediate);
      }
    });
    assert.deepEqual(await read(new Client(url), 3), ["ä\u2028😀", "text 2", "text 3"]);
  }
});

test("a line over the limit, and one of another API, end the stream for good", async (t) => {
  const { url, asked } = await servingStreams(t, streaming([line(1), "x".repeat(2000)], false));
  await assert.rejects(read(new Client(url, { maxResponseBytes: 1000 }), 2), /more than 1000 bytes/);
  assert.equal(asked.length, 1);
  const { url: second } = await servingStreams(t, streaming(["<html>\n"], false));
  await assert.rejects(read(new Client(second), 1), ServerFault);
});

test("what was handled is confirmed while the stream waits", async (t) => {
  const { url, confirmed } = await servingStreams(t, streaming([line(1), line(2)], false));
  const stop = new AbortController();
  const stream = new Client(url).stream("news", "ann", { signal: stop.signal });
  await stream.next();
  await stream.next();
  const third = stream.next();
  await until(() => confirmed.length);
  assert.deepEqual(confirmed, ["e-2"]);
  stop.abort(new Error("enough"));
  await assert.rejects(third, /enough/);
});

test("an aborted stream throws the reason and confirms what was handled", async (t) => {
  const { url, confirmed } = await servingStreams(t, streaming([line(1)], false));
  const stop = new AbortController();
  const stream = new Client(url).stream("news", "ann", { signal: stop.signal });
  await stream.next();
  const next = stream.next();
  stop.abort(new Error("enough"));
  await assert.rejects(next, /enough/);
  assert.deepEqual(confirmed, ["e-1"]);
});

/** Serve one leased message, then none; receipts are answered by the given answers. */
async function servingLeases(t, ...answers) {
  const asked = [];
  const leased = [200, { "Msg-Pending": "0" }, line(1).replace('"attempt":1', '"attempt":3,"receipt":"e-1.3"')];
  const fetches = [leased, [204]];
  const { url } = await serving(t, (request, response) => {
    const isFetch = request.method === "GET";
    if (!isFetch) asked.push(`${request.method} ${request.url}`);
    const queue = isFetch ? fetches : answers;
    const [status, headers, body] = queue.length > 1 ? queue.shift() : queue[0];
    response.writeHead(status, headers).end(body);
  });
  return { url, asked };
}

test("a lease is extended while the handler runs, and a lost one is told", async (t) => {
  const { url, asked } = await servingLeases(t, ok, problem(409, "lease-lost"));
  const client = new Client(url, { warn: () => undefined });
  const handle = (_, { signal }) => new Promise((resolve) => signal.addEventListener("abort", resolve));
  const worked = await client.work("news", "ann", handle, { lease: 0.06, untilEmpty: true });
  assert.deepEqual(worked, { done: 0, failed: 0, lost: 1 });
  assert.deepEqual(asked, [
    "PATCH /news/ann/e-1.3?lease=0.06",
    "PATCH /news/ann/e-1.3?lease=0.06",
    "DELETE /news/ann/e-1.3",
  ]);
});

test("a message whose handler fails is given back, with a delay that grows or is chosen", async (t) => {
  const fail = async () => {
    throw new Error("no");
  };
  for (const [options, delay] of [[{}, 4], [{ delay: 30, maxDelay: 40 }, 40], [{ failed: () => 7 }, 7]]) {
    const { url, asked } = await servingLeases(t, ok);
    const client = new Client(url, { warn: () => undefined });
    const worked = await client.work("news", "ann", fail, { ...options, untilEmpty: true });
    assert.deepEqual(worked, { done: 0, failed: 1, lost: 0 });
    assert.deepEqual(asked, [`PATCH /news/ann/e-1.3?lease=0&delay=${delay}`]);
  }
  const { url, asked } = await servingLeases(t, ok);
  const failed = () => {
    throw new Error("in failed");
  };
  const working = new Client(url, { warn: () => undefined }).work("news", "ann", fail, { failed });
  await assert.rejects(working, /in failed/);
  assert.deepEqual(asked, ["PATCH /news/ann/e-1.3?lease=0&delay=4"]);
});

test("a worker waits while too many messages are leased", async (t) => {
  const { url, requests } = await serving(t, problem(429, "too-many-leases", { "Retry-After": "0.01" }), [204]);
  const worked = await new Client(url, { retries: quick }).work("news", "ann", () => undefined, { untilEmpty: true });
  assert.deepEqual(worked, { done: 0, failed: 0, lost: 0 });
  assert.equal(requests.length, 2);
});

test("a poll that ends empty at once is not repeated at once", async (t) => {
  const { url, requests } = await serving(t, [204, { "Retry-After": "20" }]);
  const stop = new AbortController();
  const reading = new Client(url).messages("news", "ann", { signal: stop.signal }).next();
  await until(() => requests.length);
  await new Promise((resolve) => setTimeout(resolve, 50));
  stop.abort(new Error("enough"));
  await assert.rejects(reading, /enough/);
  assert.equal(requests.length, 1);
});

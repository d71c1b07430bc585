/** Sessions over WebSocket: order, what a lost connection means, errors. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, Denied, LeaseLost, NoSubscription, OutcomeUnknown, ServerFault, TooLarge, Unavailable } from "fanmail";
import { WebSocket } from "ws";

import { answering, error, ok, open, servingSessions } from "./fake-sessions.js";
import { problem, quick, refusing, serving } from "./fakes.js";

test("operations are sent at once and answered in any order", async (t) => {
  const { url, handshakes } = await servingSessions(t, async ({ next, send }) => {
    const ops = [await next(), await next(), await next()];
    for (const op of ops.reverse()) send(ok(op, { id: `id of ${op.text}`, subscribers: 2, created: true }));
  });
  const session = open(t, url, {}, { apiKey: "fm_a_b" });
  const options = { type: "text/plain", headers: { "Meta-A": "1" }, ttl: 5, delay: 0 };
  const [first, second, created] = await Promise.all([
    session.publish("news", "a", options),
    session.publish("news", "b"),
    session.subscribe("news", "ann", { maxDeliveries: 5 }),
  ]);
  assert.deepEqual([first.id, second.id, first.subscribers, created], ["id of a", "id of b", 2, true]);
  const protocols = handshakes[0].headers["sec-websocket-protocol"].split(/, ?/);
  assert.deepEqual(protocols, ["fanmail.v1.json", "bearer.fm_a_b"]);
  assert.equal(handshakes[0].url, "/");
});

test("what was under way is sent again in its order, under its keys", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection, number) => {
    const ops = number < 3 ? [await connection.next(), await connection.next(), await connection.next()] : [];
    came.push(ops);
    if (number < 3) connection.socket.terminate();
    else came.push(await answering(connection, 3));
  });
  const states = [];
  const session = open(t, url, { onConnection: (isConnected) => states.push(isConnected) });
  const published = await Promise.all(["a", "b", "c"].map((each) => session.publish("news", each)));
  assert.deepEqual(published.map((each) => each.id), ["e-1", "e-2", "e-3"]);
  const [first, second, , third] = came;
  assert.deepEqual(first.map((each) => each.text), ["a", "b", "c"]);
  assert.deepEqual(second, first);
  assert.deepEqual(third, first);
  assert.equal(new Set(first.map((each) => each.key)).size, 3);
  assert.deepEqual(states, [true, false, true, false, true]);
});

test("a publish without a key is not repeated", async (t) => {
  const { url, handshakes } = await servingSessions(t, async ({ next, socket }) => {
    await next();
    socket.terminate();
  });
  await assert.rejects(open(t, url).publish("news", "x", { key: "" }), OutcomeUnknown);
  assert.equal(handshakes.length, 1);
});

test("after a 503 the lane waits, and goes on in its order", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection) => {
    const [first, second] = [await connection.next(), await connection.next()];
    connection.send(error(second, 503, "broker-down", { retry_after: 0.05 }));
    connection.send(error(first, 503, "broker-down"));
    came.push(...(await answering(connection, 3)));
  });
  const session = open(t, url, { inFlight: 2 });
  await Promise.all(["a", "b", "c"].map((each) => session.publish("news", each)));
  assert.deepEqual(came.map((each) => each.text), ["a", "b", "c"]);
});

test("errors have the classes of the client", async (t) => {
  const { url } = await servingSessions(t, async ({ next, send }) => {
    const codes = [[409, "lease-lost"], [404, "no-subscription"], [403, "forbidden"], [504, "unknown"]];
    for (const [status, code] of codes) send(error(await next(), status, code));
    send({ op: "ok", ref: (await next()).ref, due: "nonsense" });
  });
  const session = open(t, url, { inFlight: 1 });
  const leased = { topic: "news", user: "ann", receipt: "e-1.1" };
  await assert.rejects(session.acknowledge(leased), LeaseLost);
  await assert.rejects(session.unsubscribe("news", "ann"), NoSubscription);
  await assert.rejects(session.publish("news"), Denied);
  await assert.rejects(session.publish("news", "", { key: "" }), OutcomeUnknown);
  await assert.rejects(session.publish("news"), ServerFault);
  await assert.rejects(session.acknowledge({ ...leased, receipt: "" }), TypeError);
  await assert.rejects(session.publish("news", "x", { headers: { Other: "1" } }), TypeError);
});

test("a close with 1008 is final, 1001 and 1013 are not, and 1009 concerns what was under way", async (t) => {
  const closes = [[1001, "draining: x"], [1013, "slow: x"], [1009, "too-big: x"], [1008, "unauthorized: gone"]];
  const { url } = await servingSessions(t, async ({ next, socket }) => {
    await next();
    const close = closes.shift();
    socket.close(...close);
  });
  const session = open(t, url);
  await assert.rejects(session.publish("news", "x"), TooLarge);
  const read = session.read("news", "ann").next();
  await assert.rejects(read, { name: "Denied", code: "unauthorized", status: 401 });
  assert.equal(closes.length, 0);
});

test("what fails while it waits for another try leaves no trace on what follows", async (t) => {
  const { url } = await servingSessions(t, async ({ next, send, socket }, number) => {
    const first = await next();
    if (number === 1) {
      send(error(first, 503, "broker-down", { retry_after: 0.1 }));
      return socket.close(1008, "unauthorized: gone");
    }
    setTimeout(() => send(ok(first, { subscribers: 1 })), 400); // after the pause of the one that has failed
  });
  const session = open(t, url);
  await assert.rejects(session.publish("news", "x"), Denied);
  assert.equal((await session.publish("news", "y")).subscribers, 1);
  await session.close();
});

test("a session waits for a connection without a limit of time", async (t) => {
  const { url } = await servingSessions(t, (connection) => void answering(connection));
  const lost = [];
  const retries = { ...quick, onRetry: (error) => lost.push(error.message) };
  assert.equal((await open(t, url, {}, { timeout: Infinity, retries }).publish("news")).id, "e-1");
  assert.deepEqual(lost, []);
});

test("a handshake that is refused is explained by the index", async (t) => {
  const { url } = await serving(t, problem(401, "unauthorized"));
  await assert.rejects(open(t, url).publish("news"), { name: "Denied", code: "unauthorized" });
});

test("operations wait for a connection as long as retries last, at any base URL", async (t) => {
  const none = await refusing();
  await assert.rejects(open(t, none, {}, { retries: { ...quick, total: 0.05 } }).publish("news"), Unavailable);
  const { url } = await servingSessions(t, (connection) => void answering(connection));
  assert.equal((await open(t, [none, url]).publish("news")).id, "e-1");
});

test("a server that does not answer is left", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection, number) => {
    if (number > 1) void answering(connection);
    else for (;;) came.push((await connection.next()).op);
  });
  assert.equal((await open(t, url, {}, { timeout: 0.3 }).publish("news")).id, "e-1");
  assert.ok(!came.includes("ping")); // that is for silence when nothing is under way
});

test("what no session of Fanmail sends ends the session", async (t) => {
  for (const text of ["nonsense", "[]", '{"op":"message","topic":"news","user":"ann"}', "x".repeat(2000)]) {
    const { url } = await servingSessions(t, async ({ next, socket }) => {
      await next();
      socket.send(text);
    });
    const read = open(t, url, {}, { maxResponseBytes: 1000 }).read("news", "ann").next();
    await assert.rejects(read, ServerFault);
  }
});

test("wrong options are refused", async (t) => {
  const client = new Client("http://127.0.0.1:1");
  assert.throws(() => client.session({ WebSocket, inFlight: 0 }), TypeError);
  if (!globalThis.WebSocket) assert.throws(() => client.session(), /no global WebSocket/);
  const session = open(t, "http://127.0.0.1:1");
  assert.throws(() => session.read("news", "ann", { window: 1001 }), TypeError);
  assert.throws(() => session.read("news", "ann", { lease: 5 }), /lease is for mode lease/);
  assert.throws(() => session.read("news", "ann", { mode: "take" }), TypeError);
});

/** Sessions over WebSocket: order, what a lost connection means, windows, errors. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, Denied, LeaseLost, NoSubscription, OutcomeUnknown, ServerFault, TooLarge, Unavailable } from "fanmail";
import { WebSocket } from "ws";

import { problem, quick, refusing, serving, servingSessions, until } from "./fakes.js";

/** Return a session of a client that retries quickly; it is closed with the test. */
function open(t, url, options = {}, clientOptions = {}) {
  const client = new Client(url, { retries: quick, warn: () => undefined, ...clientOptions });
  const session = client.session({ WebSocket, ...options });
  t.after(() => session.close());
  return session;
}

const ok = ({ ref }, members = {}) => ({ op: "ok", ref, ...members });
const error = ({ ref }, status, code, members = {}) => ({ op: "error", ref, status, code, detail: code, ...members });
const message = (seq, members = {}) => ({
  ...{ op: "message", topic: "news", user: "ann", id: `e-${seq}`, time: "2026-01-01T00:00:00Z", attempt: 1 },
  ...{ type: "a/b", text: `text ${seq}`, ...members },
});

/** Answer everything with `ok`, until `count` operations have come. Return them. */
async function answering({ next, send }, count = Infinity) {
  const came = [];
  while (came.length < count) {
    const op = await next();
    came.push(op);
    if (op.ref !== undefined) send(ok(op, { id: `e-${came.length}`, subscribers: 1, created: true }));
  }
  return came;
}

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
  assert.equal(handshakes[0].headers["sec-websocket-protocol"], "fanmail.v1.json,bearer.fm_a_b");
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

test("a read acknowledges what was handled, and continues behind it over another connection", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection, number) => {
    const { next, send, socket } = connection;
    const read = await next();
    came.push(read);
    send(ok(read, { position: "e-0" }));
    if (number === 1) {
      for (const seq of [1, 2, 3]) send(message(seq));
      while (came.at(-1).op !== "ack" || came.at(-1).id !== "e-3") came.push(await next());
      send(message(4));
      send(message(5));
      setTimeout(() => socket.terminate(), 20);
    } else {
      for (const seq of [4, 5, 6]) send(message(seq));
      came.push(...(await answering(connection, 2)));
    }
  });
  const session = open(t, url);
  const seen = [];
  for await (const { text, id } of session.read("news", "ann", { window: 8 })) {
    seen.push(text);
    if (id === "e-4") await until(() => came.filter((each) => each.op === "read").length === 2);
    if (id === "e-6") break;
  }
  assert.deepEqual(seen, [1, 2, 3, 4, 5, 6].map((each) => `text ${each}`));
  const reads = came.filter((each) => each.op === "read");
  assert.deepEqual(reads.map((each) => [each.after, each.mode, each.window]), [["0", "after", 8], ["e-3", "after", 8]]);
  const last = came.slice(-2).map(({ op, id }) => [op, id]);
  assert.deepEqual(last, [["ack", "e-5"], ["stop", undefined]]);
});

test("a read makes room before everything that has arrived is handled", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async ({ next, send }) => {
    send(ok(await next()));
    for (const seq of [1, 2, 3, 4]) send(message(seq));
    for (;;) came.push(await next());
  });
  const read = open(t, url).read("news", "ann", { window: 4 });
  for (const seq of [1, 2, 3]) assert.equal((await read.next()).value.id, `e-${seq}`);
  await until(() => came.length);
  assert.deepEqual([came[0].op, came[0].id, came[0].ref], ["ack", "e-2", undefined]);
});

test("leases are extended while the loop goes on, until they are settled", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection) => {
    const read = await connection.next();
    connection.send(ok(read));
    for (const seq of [1, 2]) connection.send(message(seq, { receipt: `e-${seq}.1` }));
    came.push(read);
    for (;;) came.push(...(await answering(connection, 1)));
  });
  const session = open(t, url);
  const read = session.read("news", "ann", { mode: "lease", lease: 0.3, window: 2 });
  const [first, second] = [(await read.next()).value, (await read.next()).value];
  await session.acknowledge(first);
  const waiting = read.next();
  const extended = () => came.slice(came.findIndex((each) => each.op === "ack") + 1);
  await until(() => came.length > 1 && extended().length > 2);
  assert.deepEqual([came[0].mode, came[0].lease, came[0].after], ["lease", 0.3, undefined]);
  for (const each of extended()) assert.deepEqual([each.op, each.receipt, each.lease], ["extend", "e-2.1", 0.3]);
  await session.giveBack(second, 5);
  await session.close();
  assert.equal((await waiting).done, true);
});

test("reads end with errors that stay, and begin again after others", async (t) => {
  const gaps = [];
  const after = [];
  const { url } = await servingSessions(t, async ({ next, send }) => {
    const place = { topic: "news", user: "ann" };
    const read = async (answer) => {
      const op = await next();
      after.push(op.after);
      send(answer ? error(op, ...answer) : ok(op));
    };
    await read([503, "broker-down"]);
    await read([409, "leases-out"]);
    await read();
    send({ op: "gap", ...place, from: "e-1", position: "e-4" });
    send(message(5));
    await next(); // the acknowledgement
    send({ op: "end", ...place, status: 504, code: "outcome-unknown" });
    await read([410, "cursor-lost", { oldest: "f-1" }]);
    await read();
    send({ op: "end", ...place, status: 404, code: "no-subscription" });
  });
  const texts = [];
  const reading = (async () => {
    const options = { onGap: (gap) => gaps.push(gap) };
    for await (const each of open(t, url).read("news", "ann", options)) texts.push(each.text);
  })();
  await assert.rejects(reading, NoSubscription);
  assert.deepEqual(texts, ["text 5"]);
  assert.deepEqual(gaps, [{ from: "e-1", position: "e-4" }, { from: "e-5", position: "f-1" }]);
  assert.deepEqual(after, ["0", "0", "0", "e-5", "0"]);
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

test("a read that gets far more than its window begins again", async (t) => {
  let reads = 0;
  const { url } = await servingSessions(t, async ({ next, send }) => {
    send(ok(await next()));
    reads += 1;
    if (reads === 1) for (let seq = 1; seq <= 10; seq += 1) send(message(seq));
    else send(message(1));
  });
  const session = open(t, url);
  const read = session.read("news", "ann", { window: 2 });
  await read.next();
  await until(() => reads === 2);
  await session.close();
});

test("an aborted loop throws the reason, a closed session ends its loops, and nothing follows", async (t) => {
  const { url } = await servingSessions(t, (connection) => void answering(connection));
  const session = open(t, url);
  const stop = new AbortController();
  const aborted = session.read("news", "ann", { signal: stop.signal }).next();
  const twice = session.read("news", "ann").next();
  await assert.rejects(twice, TypeError);
  const ended = session.read("news", "bob").next();
  stop.abort(new Error("enough"));
  await assert.rejects(aborted, /enough/);
  await session.close();
  assert.equal((await ended).done, true);
  await assert.rejects(session.publish("news"), /the session is closed/);
  await assert.rejects(session.read("news", "ann").next(), /the session is closed/);
});

test("wrong options are refused", async (t) => {
  const client = new Client("http://127.0.0.1:1");
  assert.throws(() => client.session({ WebSocket, inFlight: 0 }), TypeError);
  if (!globalThis.WebSocket) assert.throws(() => client.session(), /no global WebSocket/);
  const session = open(t, "http://127.0.0.1:1");
  assert.throws(() => session.read("news", "ann", { window: 1001 }), TypeError);
  assert.throws(() => session.read("news", "ann", { mode: "take" }), TypeError);
});

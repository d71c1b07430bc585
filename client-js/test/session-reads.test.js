/** Sessions over WebSocket: reads, their windows and leases, and how they end. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { NoSubscription } from "fanmail";

import { answering, error, message, ok, open, servingSessions } from "./fake-sessions.js";
import { until } from "./fakes.js";

test("a read acknowledges what was handled, and continues behind it over another connection", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection, number) => {
    const { next, send, socket } = connection;
    const read = await next();
    came.push(read);
    send(ok(read, { position: "e-0" }));
    if (number === 1) {
      for (const seq of [1, 2, 3]) send(message(seq));
      while (came.at(-1).id !== "e-3") came.push(...(await answering(connection, 1)));
      send(message(4));
      send(message(5));
      setTimeout(() => socket.terminate(), 20);
    } else {
      for (const seq of [4, 5, 6]) send(message(seq));
      for (;;) came.push(...(await answering(connection, 1)));
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
  await until(() => came.at(-1).op === "stop");
  assert.equal(came.findLast((each) => each.op === "ack").id, "e-5");
});

test("a read makes room before everything that has arrived is handled", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection) => {
    const { next, send } = connection;
    send(ok(await next()));
    for (const seq of [1, 2, 3, 4]) send(message(seq));
    for (;;) came.push(...(await answering(connection, 1)));
  });
  const read = open(t, url).read("news", "ann", { window: 4 });
  for (const seq of [1, 2, 3]) assert.equal((await read.next()).value.id, `e-${seq}`);
  await until(() => came.length);
  assert.deepEqual([came[0].op, came[0].id], ["ack", "e-2"]);
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

test("leased messages that the loop did not ask for are given back when it ends", async (t) => {
  const came = [];
  const warned = [];
  const { url } = await servingSessions(t, async ({ next, send }) => {
    send(ok(await next()));
    for (const seq of [1, 2, 3]) send(message(seq, { receipt: `e-${seq}.1` }));
    for (;;) {
      const op = await next();
      came.push(op);
      if (op.op === "stop") send(message(4, { receipt: "e-4.1" }));
      if (op.receipt === "e-3.1") send(error(op, 409, "lease-lost"));
      else if (op.ref !== undefined) send(ok(op));
    }
  });
  const session = open(t, url, {}, { warn: (text) => warned.push(text) });
  for await (const each of session.read("news", "ann", { mode: "lease" })) {
    assert.equal(each.id, "e-1");
    await session.publish("news"); // by its answer the others have arrived
    break;
  }
  await until(() => came.length === 5);
  const seen = came.slice(1).map((each) => [each.op, each.receipt]);
  assert.deepEqual(seen, [["nack", "e-2.1"], ["nack", "e-3.1"], ["stop", undefined], ["nack", "e-4.1"]]);
  assert.deepEqual(warned, []);
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
    send(ok(await next())); // the acknowledgement
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

test("a read that ends just before its connection does begins once on the next one", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection, number) => {
    const { next, send, socket } = connection;
    const read = await next();
    if (number === 1) {
      send({ op: "end", topic: "news", user: "ann", status: 504, code: "outcome-unknown", retry_after: 0.1 });
      return setTimeout(() => socket.terminate(), 20);
    }
    send(ok(read));
    setTimeout(() => send(message(1)), 300);
    for (;;) came.push((await answering(connection, 1))[0].op);
  });
  const read = open(t, url).read("news", "ann");
  await read.next();
  void read.next().catch(() => undefined);
  await until(() => came.length);
  assert.deepEqual(came, ["ack"]);
});

test("a read that gets far more than its window begins again", async (t) => {
  let reads = 0;
  const { url } = await servingSessions(t, async (connection) => {
    const { next, send } = connection;
    send(ok(await next()));
    reads += 1;
    if (reads === 1) for (let seq = 1; seq <= 10; seq += 1) send(message(seq));
    else send(message(1));
    await answering(connection);
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

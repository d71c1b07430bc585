/** Sessions over WebSocket: acknowledgements that fail, what a server cannot read, and that everything is settled. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Denied, NoSubscription, OutcomeUnknown } from "fanmail";

import { answering, error, message, ok, open, servingSessions } from "./fake-sessions.js";
import { quick } from "./fakes.js";

const place = { topic: "news", user: "ann" };

/** Serve a read whose window of 2 is full, and pass the connection on. Return the URL. */
async function servingFull(t, script) {
  const { url } = await servingSessions(t, async (connection) => {
    connection.send(ok(await connection.next()));
    connection.send(message(1));
    connection.send(message(2));
    await script(connection);
    await answering(connection);
  });
  return url;
}

for (const [name, retries] of [["with retries", quick], ["without retries", { ...quick, total: 0 }]]) {
  test(`an acknowledgement that fails is repeated until there is room, ${name}`, async (t) => {
    const statuses = [503, 504, 429, 503, 504, 503];
    const url = await servingFull(t, async ({ next, send }) => {
      for (let isDone = false; !isDone; ) {
        const [op, status] = [await next(), statuses.shift()];
        isDone = !status && op.id === "e-2";
        send(status ? error(op, status, "a-code") : ok(op));
      }
      send(message(3));
    });
    const seen = [];
    for await (const { id } of open(t, url, {}, { retries }).read("news", "ann", { window: 2 })) {
      seen.push(id);
      if (id === "e-3") break;
    }
    assert.deepEqual(seen, ["e-1", "e-2", "e-3"]);
  });
}

test("acknowledgements of leases that fail are repeated, each alone and as one", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection) => {
    for (const status of [503, 504]) {
      came.push(await connection.next());
      connection.send(error(came.at(-1), status, "a-code"));
    }
    came.push(...(await answering(connection, 1)));
  });
  const session = open(t, url);
  await Promise.all([1, 2].map((seq) => session.acknowledge({ ...place, receipt: `e-${seq}.1` })));
  assert.deepEqual(came.map((op) => op.receipts), Array(3).fill(["e-1.1", "e-2.1"]));
});

for (const ends of ["none", "before", "behind"]) {
  test(`a loop ends when its subscription has while its window is full; an end of the read: ${ends}`, async (t) => {
    const came = [];
    const warned = [];
    const url = await servingFull(t, async (connection) => {
      const ack = await connection.next();
      const end = () => connection.send({ op: "end", ...place, status: 404, code: "no-subscription", detail: "x" });
      if (ends === "before") end();
      connection.send(error(ack, 404, "no-subscription"));
      if (ends === "behind") end();
      for (;;) came.push(...(await answering(connection, 1)));
    });
    const session = open(t, url, {}, { warn: (text) => warned.push(text) });
    const reading = (async () => {
      for await (const each of session.read("news", "ann", { window: 2 })) await each;
    })();
    await assert.rejects(reading, NoSubscription);
    await session.publish("news"); // what came before it is known
    const stopping = came.filter((op) => op.ref !== undefined && op.op !== "publish" && op.op !== "ack");
    assert.ok(stopping.length <= 1 && stopping.every((op) => op.op === "stop"));
    if (ends === "none") assert.equal(stopping.length, 1); // else the server would not read the mailbox again
    assert.deepEqual(warned, []);
  });
}

for (const ends of [false, true]) {
  test(`a read begins again when its topic has while its window is full; an end of the read: ${ends}`, async (t) => {
    const came = [];
    const gaps = [];
    const lost = { status: 410, code: "cursor-lost", oldest: "f-1" };
    const url = await servingFull(t, async (connection) => {
      connection.send(error(await connection.next(), 410, "cursor-lost", lost));
      if (ends) connection.send({ op: "end", ...place, ...lost });
      for (let op; op?.op !== "read"; came.push(op)) [op] = await answering(connection, 1);
      connection.send(message(1, { id: "f-1" }));
    });
    const options = { window: 2, onGap: (gap) => gaps.push(gap) };
    const seen = [];
    for await (const { id } of open(t, url).read("news", "ann", options)) {
      seen.push(id);
      if (id === "f-1") break;
    }
    assert.deepEqual([seen[0], seen.at(-1), gaps.length], ["e-1", "f-1", 1]);
    const begun = came.filter((op) => op.op !== "ack").map((op) => op.op);
    assert.deepEqual(begun, ends ? ["read"] : ["stop", "read"]); // a mailbox is read once per session
  });
}

test("closing waits for what is under way, and for the acknowledgement of what was handled", async (t) => {
  const came = [];
  const url = await servingFull(t, async (connection) => {
    for (;;) came.push((await answering(connection, 1))[0].id);
  });
  const session = open(t, url);
  const read = session.read("news", "ann");
  await read.next();
  await read.next();
  const published = session.publish("news", "x");
  await session.close();
  assert.equal((await published).subscribers, 1);
  assert.deepEqual(came, [undefined, "e-1"]);
});

test("closing ends when what is under way fails", async (t) => {
  for (const code of [1001, 1008]) {
    const { url } = await servingSessions(t, async ({ next, socket }) => {
      await next();
      socket.close(code);
    });
    const session = open(t, url);
    const published = session.publish("news", "x", { key: "" });
    const outcome = assert.rejects(published, code === 1001 ? OutcomeUnknown : Denied);
    await session.close();
    await outcome;
  }
});

test("what is sent is Unicode", async (t) => {
  const ops = [];
  const { url } = await servingSessions(t, async (connection) => {
    for (;;) ops.push(...(await answering(connection, 1)));
  });
  const session = open(t, url);
  const lone = "😀".slice(0, 1);
  const options = { type: `t/${lone}`, headers: { "Meta-A": lone } };
  await session.publish("news", `not short, a${lone}b😀\\ud83d`, options);
  await session.advance("news", "ann", lone);
  const [{ text, type, meta }, { id }] = ops;
  assert.equal(text, "not short, a\ufffdb😀\\ud83d");
  assert.deepEqual([type, meta, id], ["t/\ufffd", { "meta-a": "\ufffd" }, "\ufffd"]);
  const illegal = { name: "BadRequest", code: "bad-name" };
  await assert.rejects(session.publish(lone, "x"), illegal);
  await assert.rejects(session.subscribe("news", lone), illegal);
  assert.throws(() => session.read(lone, "ann"), illegal);
});

test("what a server could not read, and does not name, ends the session and everything under way", async (t) => {
  const { url } = await servingSessions(t, async ({ next, send }, number) => {
    const first = await next();
    if (number > 1) return send(ok(first, { subscribers: 3 }));
    await next();
    send({ op: "error", ref: null, status: 400, code: "bad-op", detail: "not UTF-8" });
  });
  const session = open(t, url);
  const outcomes = [session.publish("news", "x"), session.read("news", "ann").next()];
  for (const each of outcomes) await assert.rejects(each, { name: "ServerFault", message: /bad-op: not UTF-8/ });
  assert.equal((await session.publish("news", "y")).subscribers, 3);
  await session.close();
});

test("a body is sent as what is shorter in JSON, text or base64", async (t) => {
  const ops = [];
  const { url } = await servingSessions(t, async (connection) => {
    for (;;) ops.push(...(await answering(connection, 1)));
  });
  const session = open(t, url);
  const bodies = ["", "plain", "a\n", "a\0", "\0".repeat(3000), "ü\n".repeat(3000), "ü\0".repeat(3000), "ü"];
  for (const body of bodies) await session.publish("news", body);
  const isText = ops.map((op) => "text" in op);
  assert.deepEqual(isText, [true, true, true, false, false, true, false, true]);
  const found = ops.map((op) => op.text ?? Buffer.from(op.base64, "base64").toString());
  assert.deepEqual(found, bodies);
  assert.ok(ops[4].base64.length === 4000);
});

/** Acknowledgements of leases that wait together are sent as one operation, and each has its own result. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { BadRequest, LeaseLost, NoSubscription } from "fanmail";

import { answering, error, message, ok, open, servingSessions } from "./fake-sessions.js";

const leased = (number, user = "ann") => ({ topic: "news", user, receipt: `e-${number}.1` });
const outcomes = async (acks) =>
  (await Promise.allSettled(acks)).map(({ reason }) => reason && reason.constructor);

test("acknowledgements that are made together are sent as one, and each has its result", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection) => {
    came.push(await connection.next(), await connection.next());
    connection.send(ok(came[0], { lost: ["e-2.1"] }));
    connection.send(ok(came[1]));
    came.push(await connection.next());
    connection.send(error(came[2], 404, "no-subscription"));
  });
  const session = open(t, url);
  const acks = [leased(1), leased(2), leased(3), leased(4, "bob")].map((each) => session.acknowledge(each));
  assert.deepEqual(await outcomes(acks), [undefined, LeaseLost, undefined, undefined]);
  const [one, other] = came;
  assert.deepEqual(one, { op: "ack", topic: "news", user: "ann", receipts: ["e-1.1", "e-2.1", "e-3.1"], ref: one.ref });
  assert.deepEqual(other, { op: "ack", receipt: "e-4.1", topic: "news", user: "bob", ref: other.ref });
  const gone = [leased(5), leased(6)].map((each) => session.acknowledge(each));
  assert.deepEqual(await outcomes(gone), [NoSubscription, NoSubscription]);
});

test("a loop that does not wait for answers acknowledges what is here together", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection) => {
    connection.send(ok(await connection.next()));
    for (const number of [1, 2, 3]) connection.send(message(number, { receipt: `e-${number}.1` }));
    connection.send(ok(await connection.next(), { id: "e-9", subscribers: 1 }));
    came.push(...(await answering(connection, 1)));
    await answering(connection);
  });
  const session = open(t, url);
  const loop = session.read("news", "ann", { mode: "lease" });
  const acks = [];
  const { value: first } = await loop.next();
  await session.publish("other", "all messages are here when this is answered");
  for (let one = first; one; one = acks.length < 3 && (await loop.next()).value) acks.push(session.acknowledge(one));
  assert.deepEqual(await outcomes(acks), [undefined, undefined, undefined]);
  assert.deepEqual(came.map((op) => op.receipts), [["e-1.1", "e-2.1", "e-3.1"]]);
  await loop.return();
});

test("no more is sent as one than a server takes, and the order is kept", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async (connection) => void came.push(...(await answering(connection, 4))));
  const session = open(t, url);
  const acks = Array.from({ length: 1002 }, (_, number) => session.acknowledge(leased(number)));
  await Promise.all([...acks, session.giveBack(leased(2000)), session.acknowledge(leased(2001))]);
  await session.close();
  const counts = came.map((op) => [op.op, op.receipts?.length ?? op.receipt]);
  assert.deepEqual(counts, [["ack", 1000], ["ack", 2], ["nack", "e-2000.1"], ["ack", "e-2001.1"]]);
});

test("a server that takes no lists gets each alone until the next connection", async (t) => {
  const came = [];
  const { url } = await servingSessions(t, async ({ next, send, socket }, number) => {
    if (number === 1) {
      send(error(await next(), 400, "bad-op"));
      const [first, second] = [await next(), await next()];
      came.push(first, second);
      send(error(second, 400, "bad-parameter"));
      send(ok(first));
      came.push(await next(), await next());
      socket.terminate();
    } else {
      came.push(...(await answering({ next, send }, 1)));
    }
  });
  const session = open(t, url);
  assert.deepEqual(await outcomes([1, 2].map((each) => session.acknowledge(leased(each)))), [undefined, BadRequest]);
  await outcomes([3, 4].map((each) => session.acknowledge(leased(each))));
  const alone = came.slice(0, 4).map((op) => op.receipt);
  assert.deepEqual([...alone, came[4].receipts], ["e-1.1", "e-2.1", "e-3.1", "e-4.1", ["e-3.1", "e-4.1"]]);
});

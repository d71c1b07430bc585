/**
 * The main transcripts of the API suite (tests/http, tests/e2e), through the client, in Node.js and in browsers.
 *
 * Each gets a client, the module `fanmail`, and the name of a topic of its own.
 */

import { collect, equal, refusal, runEach } from "./checking.js";

export const transcripts = {
  async "every subscriber gets a message, once"(client, fanmail, topic) {
    equal(await client.subscribe(topic, "ann"), true);
    equal(await client.subscribe(topic, "ann"), false);
    await client.subscribe(topic, "bob");
    const published = await client.publish(topic, "hello", { type: "text/plain", headers: { "Meta-Colour": "grün" } });
    equal([published.subscribers, published.count, published.replayed], [2, 1, false]);
    for (const user of ["ann", "bob"]) {
      const message = await client.receive(topic, user);
      const { id, text, type, headers, attempt, pending, receipt } = message;
      equal([id, text, type, headers], [published.id, "hello", "text/plain", { "meta-colour": "grün" }]);
      equal([attempt, pending, receipt, message.topic, message.user], [1, 0, "", topic, user]);
      equal(Math.abs(message.time - Date.now()) < 60_000, true);
      equal(await client.receive(topic, user), undefined);
    }
  },

  async "without subscribers a message is dropped, and reading is refused"(client, fanmail, topic) {
    const { subscribers, id } = await client.publish(topic, "x");
    equal([subscribers, id], [0, undefined]);
    equal(await refusal(client.receive(topic, "ann"), fanmail.NoSubscription), "404 no-subscription");
    equal(await refusal(client.status(topic, "ann"), fanmail.NoSubscription), "404 no-subscription");
    equal(await refusal(client.unsubscribe(topic, "ann"), fanmail.NoSubscription), "404 no-subscription");
    await client.subscribe(topic, "ann");
    await client.unsubscribe(topic, "ann");
    equal(await refusal(client.receive(topic, "ann"), fanmail.NotFound), "404 no-subscription");
  },

  async "bodies and names come back as they were"(client, fanmail, topic) {
    const name = `${topic}/ü?#%2F+ 😀`;
    const every = Uint8Array.from({ length: 256 }, (_, index) => index);
    const bodies = [every, new Uint8Array(), "", "\u2028 ä\r\n\0", "\ufeffmark", new Uint8Array(100_000).fill(200)];
    await client.subscribe(name, "a/b");
    for (const body of bodies) await client.publish(name, body);
    const { messages } = await client.fetch(name, "a/b");
    equal(messages.length, bodies.length);
    messages.forEach((message, index) => {
      const body = bodies[index];
      equal([...message.body], [...(typeof body === "string" ? new TextEncoder().encode(body) : body)]);
      if (typeof body === "string") equal(message.text, body);
    });
    let failure;
    try {
      messages[0].text;
    } catch (error) {
      failure = error;
    }
    equal(failure instanceof TypeError, true);
  },

  async "a wrong content coding harms nobody"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    await client.publish(topic, "plain", { headers: { "Content-Encoding": "gzip" } });
    await client.publishMany(topic, ["batched"], { headers: { "Content-Encoding": "br" } });
    const found = [await client.receive(topic, "ann"), await client.receive(topic, "ann")];
    equal(found.map((each) => [each.text, each.headers["content-encoding"]]), [["plain", "gzip"], ["batched", "br"]]);
  },

  async "a cursor acknowledges"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    const { id, count } = await client.publishMany(topic, ["a", "b", "c"]);
    equal(count, 3);
    equal((await client.receive(topic, "ann", { after: "0" })).text, "a");
    equal((await client.receive(topic, "ann", { after: "0" })).text, "a");
    const second = await client.receive(topic, "ann", { after: id });
    equal([second.text, second.pending], ["b", 1]);
    await client.advance(topic, "ann", second.id);
    equal((await client.status(topic, "ann")).pending, 1);
    const lost = client.receive(topic, "ann", { after: "ffff-1" });
    equal(await refusal(lost, fanmail.CursorLost), "410 cursor-lost");
    const error = await lost.catch((each) => each);
    equal(error.oldest, (await client.status(topic, "ann")).nextId);
  },

  async "messages are read at least once, in order"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    await client.publishMany(topic, ["a", "b", "c", "d"]);
    equal(await collect(client.messages(topic, "ann"), 2), ["a", "b"]);
    equal(await collect(client.messages(topic, "ann", { untilEmpty: true })), ["b", "c", "d"]);
    equal(await collect(client.messages(topic, "ann", { untilEmpty: true })), []);
    await client.publishMany(topic, ["e", "f", "g"]);
    equal(await collect(client.messages(topic, "ann", { batch: 2, untilEmpty: true })), ["e", "f", "g"]);
  },

  async "a long poll is answered by a publish"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    const waiting = client.receive(topic, "ann", { wait: 20 });
    await client.publish(topic, "at last");
    equal((await waiting).text, "at last");
  },

  async "a stream brings messages as they come, and confirms what was handled"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    await client.publishMany(topic, ["a", "b"]);
    const texts = [];
    for await (const message of client.stream(topic, "ann")) {
      texts.push(message.text);
      if (message.text === "b") await client.publish(topic, "c");
      if (message.text === "c") break;
    }
    equal(texts, ["a", "b", "c"]);
    equal((await client.status(topic, "ann")).pending, 1);
    equal(await collect(client.stream(topic, "ann"), 1), ["c"]);
    await client.unsubscribe(topic, "ann");
    const gone = collect(client.stream(topic, "ann"));
    equal(await refusal(gone, fanmail.NoSubscription), "404 no-subscription");
  },

  async "a stream ends with its subscription"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    await client.publish(topic, "a");
    const stream = client.stream(topic, "ann");
    equal((await stream.next()).value.text, "a");
    await client.unsubscribe(topic, "ann");
    equal(await refusal(stream.next(), fanmail.NoSubscription), "404 no-subscription");
  },

  async "leases: acknowledged, given back, extended, lost"(client, fanmail, topic) {
    await client.subscribe(topic, "crew");
    await client.publishMany(topic, ["a", "b", "c"]);
    const { messages } = await client.fetch(topic, "crew", { lease: 30 });
    equal(messages.map((each) => [each.text, each.attempt, Boolean(each.receipt)]), [
      ["a", 1, true],
      ["b", 1, true],
      ["c", 1, true],
    ]);
    const out = client.receive(topic, "crew", { after: "0" });
    equal(await refusal(out, fanmail.LeasesOut), "409 leases-out");
    await client.acknowledge(messages[0]);
    await client.acknowledge(messages[0]);
    await client.extend(messages[1], 60);
    await client.giveBack(messages[1]);
    const again = await client.receive(topic, "crew", { lease: 30 });
    equal([again.text, again.attempt], ["b", 2]);
    equal(await refusal(client.acknowledge(messages[1]), fanmail.LeaseLost), "409 lease-lost");
    const results = await client.acknowledgeMany([messages[1], messages[2], again]);
    equal(results.map((each) => [each.done, each.code]), [[false, "lease-lost"], [true, ""], [true, ""]]);
    const { pending, leased } = await client.status(topic, "crew");
    equal([pending, leased], [0, 0]);
  },

  async "workers acknowledge what they handled and give back what failed"(client, fanmail, topic) {
    await client.subscribe(topic, "crew", { maxDeliveries: 2 });
    await client.publishMany(topic, ["good", "bad", "fine"]);
    const seen = [];
    const handle = (message) => {
      seen.push(`${message.text} ${message.attempt}`);
      if (message.text === "bad") throw new Error("no");
    };
    const worked = await client.work(topic, "crew", handle, { delay: 0, untilEmpty: true });
    equal(worked, { done: 2, failed: 2, lost: 0 });
    equal(seen, ["good 1", "bad 1", "bad 2", "fine 1"]);
    const { messages, left } = await client.dead(topic, "crew");
    equal([messages.map((each) => each.text), left], [["bad"], 0]);
    equal(await client.putBackDead(topic, "crew"), 1);
    equal(await client.work(topic, "crew", () => undefined, { untilEmpty: true }), { done: 1, failed: 0, lost: 0 });
    equal(await client.dropDead(topic, "crew"), 0);
  },

  async "a worker that is stopped finishes the message under way"(client, fanmail, topic) {
    await client.subscribe(topic, "crew");
    await client.publishMany(topic, ["a", "b"]);
    const stop = new AbortController();
    const worked = await client.work(topic, "crew", () => stop.abort(), { signal: stop.signal });
    equal(worked, { done: 1, failed: 0, lost: 0 });
    equal((await client.status(topic, "crew")).pending, 1);
  },

  async "a key stores a message once"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    const first = await client.publish(topic, "pay", { key: "order-7" });
    const second = await client.publish(topic, "pay", { key: "order-7" });
    equal([second.id, second.replayed], [first.id, true]);
    equal(await refusal(client.publish(topic, "more", { key: "order-7" }), fanmail.KeyReused), "422 key-reused");
    equal((await client.status(topic, "ann")).pending, 1);
    equal((await client.publish(topic, "unkeyed", { key: "" })).replayed, false);
  },

  async "a delay and a time to live"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    const { due, id } = await client.publish(topic, "later", { delay: 3600 });
    equal([due > new Date(), id], [true, undefined]);
    await client.publish(topic, "soon gone", { ttl: 0.001 });
    await client.publish(topic, "stays", { ttl: 3600.5 });
    await client.publish(topic, "soon", { delay: 0.05 });
    equal((await client.receive(topic, "ann", { wait: 20 })).text, "stays");
    equal((await client.receive(topic, "ann", { wait: 20 })).text, "soon");
  },

  async "settings of a subscription"(client, fanmail, topic) {
    await client.subscribe(topic, "ann", { expiresAfter: 3600 });
    await client.configure(topic, "ann", { maxDeliveries: 3, expiresAfter: 0 });
    const bad = client.configure(topic, "ann", { maxDeliveries: -1 });
    equal(await refusal(bad, fanmail.BadRequest), "400 bad-parameter");
    const none = client.configure(topic, "bob", { maxDeliveries: 1 });
    equal(await refusal(none, fanmail.NoSubscription), "404 no-subscription");
  },

  async "what is too large or no name is refused"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    const big = { headers: { "Meta-Big": "v".repeat(9000) } };
    equal(await refusal(client.publish(topic, "x", big), fanmail.TooLarge), "431 headers-too-large");
    for (const name of ["", ".", "..", "\ud800"]) {
      equal(await refusal(client.publish(name, "x"), fanmail.BadRequest), "0 bad-name");
    }
    equal(await refusal(client.publish("\u0007", "x"), fanmail.BadRequest), "400 bad-name");
    equal(await refusal(client.publish(topic, "x", { headers: { "X-Other": "1" } }), TypeError), "undefined undefined");
    const split = client.publish(topic, "x", { headers: { "Meta-A": "1\r\nMeta-B: 2" } });
    equal(await refusal(split, TypeError), "undefined undefined");
  },

  async "an aborted call throws the reason"(client, fanmail, topic) {
    await client.subscribe(topic, "ann");
    const stop = new AbortController();
    const waiting = client.receive(topic, "ann", { wait: 20, signal: stop.signal });
    const streaming = client.stream(topic, "ann", { signal: stop.signal }).next();
    const reading = client.messages(topic, "ann", { signal: stop.signal }).next();
    const working = client.work(topic, "ann", () => undefined, { signal: stop.signal });
    stop.abort(new Error("enough"));
    for (const each of [waiting, streaming, reading]) equal((await each.catch((error) => error)).message, "enough");
    equal(await working, { done: 0, failed: 0, lost: 0 });
    const before = client.receive(topic, "ann", { signal: stop.signal });
    equal((await before.catch((error) => error)).message, "enough");
  },
};

/** Run those of the HTTP API. */
export function runAll(client, fanmail, stem) {
  return runEach(transcripts, (transcript, topic) => transcript(client, fanmail, topic), stem);
}

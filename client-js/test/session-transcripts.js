/** The main transcripts over a session, in Node.js and in browsers. */

import { collect, equal, refusal, runEach } from "./checking.js";

/** Each gets a session, its client, the name of a topic of its own, and the module `fanmail`. */
export const sessionTranscripts = {
  async "many publishes are answered and read in their order"(session, client, topic) {
    equal([await session.subscribe(topic, "ann"), await session.subscribe(topic, "ann")], [true, false]);
    const texts = Array.from({ length: 500 }, (_, number) => `message ${number}`);
    const options = { type: "text/plain", headers: { "Meta-Colour": "grün" } };
    const published = await Promise.all(texts.map((text) => session.publish(topic, text, options)));
    const seen = [];
    for await (const message of session.read(topic, "ann", { window: 10 })) {
      const { id, text, type, headers, user } = message;
      seen.push([id, text]);
      equal([type, headers, user, message.topic], ["text/plain", { "meta-colour": "grün" }, "ann", topic]);
      if (seen.length === texts.length) break;
    }
    equal(seen, published.map(({ id }, number) => [id, texts[number]]));
    equal((await client.status(topic, "ann")).pending, 1);
    equal(await collect(session.read(topic, "ann"), 1), ["message 499"]);
  },

  async "a message that is published is read at once, bytes and names as they were"(session, client, topic, fanmail) {
    const name = `${topic}/ü 😀`;
    const every = Uint8Array.from({ length: 256 }, (_, index) => index);
    await session.subscribe(name, "a/b");
    const read = session.read(name, "a/b");
    const waiting = read.next();
    const { id, replayed } = await session.publish(name, every, { key: "once" });
    const again = await client.publish(name, every, { key: "once" });
    equal([again.id, again.replayed, replayed], [id, true, false]);
    equal([...(await waiting).value.body], [...every]);
    await session.publish(name, "", { ttl: 60 });
    equal((await read.next()).value.text, "");
    equal((await session.publish(name, "later", { delay: 3600 })).due > new Date(), true);
    await session.unsubscribe(name, "a/b");
    equal(await refusal(read.next(), fanmail.NoSubscription), "404 no-subscription");
    equal(await refusal(session.unsubscribe(name, "a/b"), fanmail.NoSubscription), "404 no-subscription");
    equal(await refusal(session.publish("", "x"), fanmail.BadRequest), "400 bad-name");
  },

  async "texts that HTTP takes are published, whatever JSON makes of them"(session, client, topic) {
    await session.subscribe(topic, "ann");
    const texts = ["\0".repeat(1048576), "\n".repeat(900000), "ü".repeat(524288), "a\ud83d"];
    const read = session.read(topic, "ann", { window: 1 });
    for (const text of texts) {
      await session.publish(topic, text);
      const { value } = await read.next();
      equal([value.text.length, value.text === text.replace("\ud83d", "\ufffd")], [text.length, true]);
    }
    await read.return();
  },

  async "leases are acknowledged and given back"(session, client, topic, fanmail) {
    await session.subscribe(topic, "crew", { maxDeliveries: 5 });
    for (const text of ["a", "b"]) await session.publish(topic, text);
    const seen = [];
    for await (const message of session.read(topic, "crew", { mode: "lease", lease: 30 })) {
      seen.push(`${message.text} ${message.attempt}`);
      if (message.text === "a" && message.attempt === 1) await session.giveBack(message);
      else await session.acknowledge(message);
      if (seen.length === 3) break;
    }
    equal(seen.sort(), ["a 1", "a 2", "b 1"]);
    const { pending, leased } = await client.status(topic, "crew");
    equal([pending, leased], [0, 0]);
    const gone = session.acknowledge({ topic, user: "crew", receipt: "ffff-1.1" });
    equal(await refusal(gone, fanmail.LeaseLost), "409 lease-lost");
  },

  async "what is not acknowledged comes again"(session, client, topic) {
    await session.subscribe(topic, "ann");
    for (const text of ["a", "b", "c"]) await session.publish(topic, text);
    equal(await collect(session.read(topic, "ann"), 2), ["a", "b"]);
    const rest = [];
    for await (const message of session.read(topic, "ann")) {
      rest.push(message.text);
      if (message.text === "c") {
        await session.advance(topic, "ann", message.id);
        break;
      }
    }
    equal(rest, ["b", "c"]);
    equal((await client.status(topic, "ann")).pending, 0);
  },
};

/** Run them over one session. `options` may have a class of WebSockets. */
export async function runSessions(client, fanmail, stem, options) {
  const session = client.session(options);
  const run = (transcript, topic) => transcript(session, client, topic, fanmail);
  const failures = await runEach(sessionTranscripts, run, `${stem}-session`);
  await session.close();
  return failures;
}

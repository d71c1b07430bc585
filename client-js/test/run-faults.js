/**
 * Publish over a session and read in every way while the fronts at FANMAIL_URL are killed, as the printed lines ask.
 *
 * Arguments: a topic, and the number of messages. Prints "kill" at the beginning and in the middle, and at the end what
 * was read by stream, session, cursor and worker: the numbers without repeats.
 */

import { Client } from "fanmail";
import { WebSocket } from "ws";

const [topic, total] = [process.argv[2], Number(process.argv[3])];
const retries = { total: 60, maxPause: 0.5 };
const client = new Client(undefined, { retries, warn: () => undefined });
const session = client.session({ WebSocket });
const stop = new AbortController();
const seen = { stream: [], session: [], messages: [], work: [] };
const repeats = {};

/** Note a number. Return whether it was the last one. */
function note(reader, { text }) {
  const number = Number(text);
  if (seen[reader].includes(number)) repeats[reader] = (repeats[reader] ?? 0) + 1;
  else seen[reader].push(number);
  return seen[reader].length === total;
}

async function read(reader, messages) {
  for await (const message of messages) if (note(reader, message)) break;
}

const handle = (message) => {
  if (note("work", message)) stop.abort();
};

for (const reader of Object.keys(seen)) await client.subscribe(topic, reader);
const reading = Promise.all([
  read("stream", client.stream(topic, "stream")),
  read("session", session.read(topic, "session")),
  read("messages", client.messages(topic, "messages", { batch: 10 })),
  client.work(topic, "work", handle, { lease: 2, signal: stop.signal }),
]);
for (let number = 0; number < total; number += 20) {
  const numbers = Array.from({ length: 20 }, (_, index) => number + index);
  await Promise.all(numbers.map((each) => session.publish(topic, String(each))));
  if (number === 0 || number === 20 * Math.floor(total / 40)) console.log("kill");
}
await reading;
await session.close();
console.log(JSON.stringify({ seen, repeats }));

/**
 * Read over a session while the broker behind FANMAIL_URL is down.
 *
 * Arguments: a topic, and the number of messages. Prints "kill" when the window is full, and goes on with the next line
 * that comes; prints "start" when an acknowledgement has failed, and what was read at the end.
 */

import { Client } from "fanmail";
import { WebSocket } from "ws";

const [topic, total] = [process.argv[2], Number(process.argv[3])];
let failures = 0;
const onRetry = () => {
  failures += 1;
  if (failures === 1) console.log("start");
};
const client = new Client(undefined, { retries: { onRetry }, warn: () => undefined });
const session = client.session({ WebSocket });
const seen = [];

setTimeout(() => process.exit(1), 60_000).unref();
await client.subscribe(topic, "ann");
await Promise.all(Array.from({ length: total }, (_, number) => session.publish(topic, String(number))));
for await (const { text } of session.read(topic, "ann", { window: 20 })) {
  if (!seen.length) {
    await session.publish("other", "the window is here when this is answered");
    const line = new Promise((resolve) => process.stdin.once("data", resolve));
    console.log("kill");
    await line;
    process.stdin.pause();
  }
  seen.push(text);
  if (seen.length === total) break;
}
await session.close();
console.log(JSON.stringify(seen));

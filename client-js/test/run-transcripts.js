/** Run the transcripts against the cluster at FANMAIL_URL; the stem of names of topics is the only argument. */

import * as fanmail from "fanmail";
import { WebSocket } from "ws";

import { runSessions } from "./session-transcripts.js";
import { runAll } from "./transcripts.js";

const client = new fanmail.Client(undefined, { warn: () => undefined });
const stem = process.argv[2];
const failures = {
  ...(await runAll(client, fanmail, stem)),
  ...(await runSessions(client, fanmail, stem, { WebSocket })),
};
for (const [name, failure] of Object.entries(failures)) console.error(`${name}: ${failure}`);
process.exitCode = Object.keys(failures).length ? 1 : 0;

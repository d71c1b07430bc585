/** Run the transcripts against the cluster at FANMAIL_URL; the stem of names of topics is the only argument. */

import * as fanmail from "fanmail";

import { runAll } from "./transcripts.js";

const failures = await runAll(new fanmail.Client(undefined, { warn: () => undefined }), fanmail, process.argv[2]);
for (const [name, failure] of Object.entries(failures)) console.error(`${name}: ${failure}`);
process.exitCode = Object.keys(failures).length ? 1 : 0;

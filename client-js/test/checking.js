/** What the transcripts check with, in Node.js and in browsers. */

/** Throw unless two values of JSON are equal; undefined and missing members are too. */
export function equal(found, expected) {
  const [left, right] = [found, expected].map((each) => JSON.stringify(each) ?? "undefined");
  if (left !== right) throw new Error(`found ${left}, expected ${right}`);
}

/** Return the code and status of the error that a promise is rejected with. */
export async function refusal(promise, kind) {
  try {
    await promise;
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    return `${error.status} ${error.code}`;
  }
  throw new Error(`${kind.name} was expected`);
}

export async function collect(messages, limit = Infinity) {
  const texts = [];
  for await (const message of messages) {
    texts.push(message.text);
    if (texts.length === limit) break;
  }
  return texts;
}

/** Run them at once, as they share nothing. Return the failures by name. */
export async function runEach(all, run, stem) {
  const failures = {};
  await Promise.all(
    Object.entries(all).map(async ([name, transcript], number) => {
      try {
        await run(transcript, `${stem}-${number}`);
      } catch (error) {
        failures[name] = String(error?.stack ?? error);
      }
    }),
  );
  return failures;
}

/** Small servers that answer as a test says. */

import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";

/** Return what `make` starts at a free port of loopback: its base URL, and a function that ends it. */
async function listening(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${server.address().port}`;
}

/**
 * Serve each request by the next of `answers`; the last one repeats. Ends with the test.
 *
 * An answer is a function of request and response, or `[status, headers, body]`; `"cut"` ends the connection.
 */
export async function serving(test, ...answers) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    request.body = Buffer.concat(parts);
    requests.push(request);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === "cut") request.socket.destroy();
    else if (typeof answer === "function") answer(request, response);
    else response.writeHead(answer[0], answer[1] ?? {}).end(answer[2] ?? "");
  });
  const url = await listening(server);
  test.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url, requests, server };
}

/** Return a base URL at which nobody listens. */
export async function refusing() {
  const server = createTcpServer();
  const url = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return url;
}

/** Return an answer with a problem document. */
export function problem(status, code, headers = {}) {
  const body = JSON.stringify({ type: `urn:${code}`, title: "a title", status, code, detail: `because of ${code}` });
  return [status, { "Content-Type": "application/problem+json", ...headers }, body];
}

export const published = [200, { "Msg-Subscribers": "1", "Msg-Id": "e-1" }];

/** Return the NDJSON line of a message. */
export function line(seq, text = `text ${seq}`) {
  return `${JSON.stringify({ id: `e-${seq}`, time: "2026-01-01T00:00:00.000Z", attempt: 1, type: "a/b", text })}\n`;
}

/** Return an answer that begins a stream with these lines; it stays open, or ends. */
export function streaming(lines, ends = true) {
  return (_, response) => {
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    response.write(lines.join(""));
    if (ends) response.end();
  };
}

/** Retries without pauses that a test would notice. */
export const quick = { base: 0.001, maxPause: 0.002 };

/** Wait until a condition is true. */
export async function until(isTrue) {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 20));
}

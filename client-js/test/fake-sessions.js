/** A server of sessions that answers as a test says, and a client of it. */

import { Client } from "fanmail";
import { WebSocket, WebSocketServer } from "ws";

import { published, quick, serving } from "./fakes.js";

/**
 * Serve sessions: `script` gets each connection, which has `send(members)` and `next()`, the next operation that came,
 * and its number, the first of which is 1. Return the URL and the requests of the handshakes.
 */
export async function servingSessions(test, script) {
  const { url, server } = await serving(test, published);
  const sockets = new WebSocketServer({ server, handleProtocols: () => "fanmail.v1.json" });
  const handshakes = [];
  test.after(() => sockets.clients.forEach((each) => each.terminate()));
  sockets.on("connection", (socket, request) => {
    handshakes.push(request);
    const came = [];
    let wake = () => undefined;
    socket.on("message", (data) => {
      came.push(JSON.parse(data));
      wake();
    });
    const next = async () => {
      while (!came.length) await new Promise((resolve) => (wake = resolve));
      return came.shift();
    };
    script({ socket, next, send: (members) => socket.send(JSON.stringify(members)) }, handshakes.length);
  });
  return { url, handshakes };
}

/** Return a session of a client that retries quickly; it is closed with the test. */
export function open(t, url, options = {}, clientOptions = {}) {
  const client = new Client(url, { retries: quick, warn: () => undefined, ...clientOptions });
  const session = client.session({ WebSocket, ...options });
  t.after(() => session.close());
  return session;
}

export const ok = ({ ref }, members = {}) => ({ op: "ok", ref, ...members });
export const error = ({ ref }, status, code, members = {}) => ({
  ...{ op: "error", ref, status, code, detail: code, ...members },
});
export const message = (seq, members = {}) => ({
  ...{ op: "message", topic: "news", user: "ann", id: `e-${seq}`, time: "2026-01-01T00:00:00Z", attempt: 1 },
  ...{ type: "a/b", text: `text ${seq}`, ...members },
});

/** Answer everything with `ok`, until `count` operations have come. Return them. */
export async function answering({ next, send }, count = Infinity) {
  const came = [];
  while (came.length < count) {
    const op = await next();
    came.push(op);
    if (op.ref !== undefined) send(ok(op, { id: `e-${came.length}`, subscribers: 1, created: true }));
  }
  return came;
}

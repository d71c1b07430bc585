/** One WebSocket, from its handshake to its end, and what its end means. */

import { runAfter } from "../clock.js";
import { Denied, FanmailError, OutcomeUnknown, ServerFault, TooLarge, Unavailable } from "../errors.js";
import type { Exchange } from "../exchange.js";
import { parseNothing } from "../responses.js";
import { ONCE } from "../retry.js";

/** What a session uses of a WebSocket: the global class, `ws` of npm, and others have it. */
export interface WebSocketLike {
  readonly bufferedAmount: number;
  addEventListener(type: "open" | "message" | "close" | "error", listener: (event: any) => void): void;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** A class of WebSockets. */
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

const SUBPROTOCOL = "fanmail.v1.json";
const NORMAL = 1000;
const DENIED = 1008;
const TOO_BIG = 1009;
/** Protocol error, binary data, data that is no text: another connection would end in the same way. */
const FAULTS = new Set([1002, 1003, 1007]);

/** What the owner of a connection wants to know. */
export interface Listener {
  opened(): void;
  text(data: string): void;
  /** Called once, at the end. `wasOpen`: whether the handshake was successful. */
  closed(error: FanmailError, wasOpen: boolean): void;
}

/** A connection that is being opened, or is open. */
export class Connection {
  readonly #socket: WebSocketLike;
  readonly #base: string;
  readonly #listener: Listener;
  readonly #timer: ReturnType<typeof setTimeout>;
  #isOpen = false;
  #isClosed = false;

  /** Begin the handshake, which may take `seconds`. The key is a second subprotocol: a page can set no header. */
  constructor(base: string, key: string, kind: WebSocketClass, seconds: number, listener: Listener) {
    this.#base = base;
    this.#listener = listener;
    this.#socket = new kind(`${base.replace(/^http/, "ws")}/`, [SUBPROTOCOL, ...(key ? [`bearer.${key}`] : [])]);
    const late = new Unavailable(`${base}: no connection within ${seconds} s`);
    this.#timer = runAfter(seconds, () => this.fail(late));
    this.#socket.addEventListener("open", () => this.#opened());
    this.#socket.addEventListener("message", (event: { data: unknown }) => {
      if (!this.#isClosed) this.#listener.text(String(event.data));
    });
    this.#socket.addEventListener("error", () => undefined); // "close" follows; without a listener `ws` would throw
    this.#socket.addEventListener("close", (event: { code: number; reason: string }) => {
      this.#end(this.#why(event.code, event.reason));
    });
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#isClosed;
  }

  /** Bytes that are not sent yet. */
  get unsent(): number {
    return this.#socket.bufferedAmount;
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  /** End it for this reason. */
  fail(error: FanmailError): void {
    this.#socket.close();
    this.#end(error); // a peer that has vanished would not answer for minutes
  }

  /** End it in an orderly way. */
  close(): void {
    this.#end(new OutcomeUnknown("the session was closed"));
    this.#socket.close(NORMAL);
  }

  #opened(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#isOpen = true;
    this.#listener.opened();
  }

  #end(error: FanmailError): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#isClosed = true;
    this.#listener.closed(error, this.#isOpen);
  }

  /** Return why it has ended: `Unavailable` or `OutcomeUnknown` if another one may be opened. */
  #why(code: number, reason: string): FanmailError {
    if (!this.#isOpen) return new Unavailable(`${this.#base}: the handshake was refused, or nobody listens`);
    const detail = `${this.#base}: the session was closed with ${code}${reason ? `: ${reason}` : ""}`;
    if (code === DENIED) {
      const [name = ""] = reason.split(": ", 1);
      return new Denied(detail, { code: name, status: name === "unauthorized" ? 401 : 403 });
    }
    if (code === TOO_BIG) return new TooLarge(detail);
    return FAULTS.has(code) ? new ServerFault(detail) : new OutcomeUnknown(detail);
  }
}

/** Return the error that the index answers with, if any: the one of a handshake cannot be seen. */
export async function whyRefused(exchange: Exchange, error: FanmailError): Promise<FanmailError> {
  const request = { method: "GET", target: "/" };
  try {
    await exchange.call({ request, parse: parseNothing, repeatable: true }, undefined, ONCE);
  } catch (found) {
    if (found instanceof FanmailError) return found;
  }
  return error;
}

/** What keeps a session connected: it opens connections, sends what waits, and passes on what arrives. */

import { now, runAfter, runSoon } from "../clock.js";
import { type FanmailError, LeaseLost, OutcomeUnknown, ServerFault } from "../errors.js";
import type { Exchange } from "../exchange.js";
import { parseEventError, parseLine, parseMessage, text } from "../responses.js";
import { isFinal } from "../streaming.js";
import { Connection, type WebSocketClass, whyRefused } from "./connection.js";
import { Lanes } from "./lanes.js";
import * as ops from "./ops.js";
import type { Read } from "./reads.js";

/** Bytes that may be handed to the socket and unsent. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
/** Seconds of silence before the server is asked for an answer. */
const SILENCE = 20;
/** Seconds after which a connection is not counted as a failure of the one before. */
const STABLE = 5;
/** Seconds between two looks at what does not happen. */
const TICK = 1;
/** Any answer shows that the connection is alive: a page cannot send pings of WebSocket. */
const PROBE = JSON.stringify({ op: "ping", ref: "ping" });

/** A session without its public methods. */
export class Engine {
  readonly #exchange: Exchange;
  readonly #key: string;
  readonly #kind: WebSocketClass;
  readonly #inFlight: number;
  readonly #onConnection: (isConnected: boolean) => void;
  readonly #lanes: Lanes;
  readonly #reads = new Map<string, Read>();
  /** Requests to read, by `ref`. */
  readonly #begun = new Map<string, Read>();
  /** Reads that have ended over this connection and will begin again. */
  readonly #resting = new Set<Read>();
  #connection: Connection | undefined;
  #isWaiting = false;
  /** `#work` will be called. */
  #isSoon = false;
  /** Nothing more may be begun. */
  #isClosed = false;
  #closing: Promise<void> | undefined;
  #failures = 0;
  #lastRef = 0;
  #openedAt = 0;
  #heardAt = 0;
  #probedAt = 0;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #idle: () => void = () => undefined;

  constructor(
    exchange: Exchange,
    key: string,
    kind: WebSocketClass,
    inFlight: number,
    onConnection: (isConnected: boolean) => void,
  ) {
    this.#exchange = exchange;
    this.#key = key;
    this.#kind = kind;
    this.#inFlight = inFlight;
    this.#onConnection = onConnection;
    this.#lanes = new Lanes(exchange.retries, exchange.timeout, () => this.#work(), () => this.#idle());
  }

  get isConnected(): boolean {
    return this.#connection?.isOpen === true;
  }

  /** Tell the client's log. */
  warn(message: string): void {
    this.#exchange.warn(message);
  }

  /** Send an operation when there is room. Return its result. */
  submit<T>(op: ops.Op<T>, signal?: AbortSignal): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#isClosed) throw new Error("the session is closed");
      const abort = (): void => reject(signal?.reason as Error);
      signal?.addEventListener("abort", abort);
      this.#lanes.add(op, (error, result) => {
        signal?.removeEventListener("abort", abort);
        if (error === undefined) resolve(result as T);
        else reject(error as Error);
      });
      if (op.receipt) this.#workSoon();
      else this.#work();
    });
  }

  /** Send an operation whose answer is of no interest, if there is a connection. */
  tell(members: ops.Members): void {
    if (this.#connection?.isOpen) this.#connection.send(ops.toJson(members));
  }

  /** Begin to read. Throws if the session is closed or reads the mailbox already. */
  addRead(read: Read): void {
    if (this.#isClosed) throw new Error("the session is closed");
    if (this.#reads.has(read.key)) throw new TypeError(`the session reads ${read.user} of ${read.topic} already`);
    this.#reads.set(read.key, read);
    if (this.#connection?.isOpen) this.#begin(read);
    this.#work();
  }

  /** End to read, after the last operations of the read. Without a connection its messages come again. */
  async removeRead(read: Read, last: readonly ops.Op<void>[]): Promise<void> {
    if (!this.#isClosed && this.#connection?.isOpen) {
      // Another connection does not read the mailbox, so there is nothing to repeat.
      const ended = await Promise.allSettled(last.map((op) => this.submit({ ...op, repeatable: false })));
      const failed = ended.find((each) => each.status === "rejected" && !(each.reason instanceof LeaseLost));
      if (failed) {
        const { reason } = failed as PromiseRejectedResult;
        this.warn(`could not end the read of ${read.user} of ${read.topic}: ${String(reason)}`);
      }
    }
    this.#reads.delete(read.key);
  }

  /** The leased message was acknowledged or given back. */
  settled(topic: string, user: string, receipt: string): void {
    this.#reads.get(ops.mailbox(topic, user))?.settled(receipt);
  }

  /** End all loops, wait until all operations are answered, and end the connection. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const read of this.#reads.values()) read.close();
    this.#isClosed = true;
    if (!this.#lanes.isIdle) await new Promise<void>((resolve) => (this.#idle = resolve));
    this.#reads.clear();
    clearInterval(this.#ticking);
    this.#connection?.close();
  }

  /** Connect if there is something to do, and send what may be sent. */
  #work(): void {
    if (this.#lanes.isIdle && (this.#isClosed || !this.#reads.size)) return;
    this.#ticking ??= setInterval(() => this.#tick(), TICK * 1000);
    const connection = this.#connection;
    if (!connection && !this.#isWaiting) this.#connect();
    if (!connection?.isOpen) return;
    while (this.#lanes.sent < this.#inFlight && connection.unsent < MAX_UNSENT_BYTES) {
      const pending = this.#lanes.take();
      if (!pending) return;
      connection.send(pending.text);
    }
  }

  /** Do so when what is ready has run: loops over messages that are here acknowledge them meanwhile. */
  #workSoon(): void {
    if (this.#isSoon) return;
    this.#isSoon = true;
    runSoon(() => {
      this.#isSoon = false;
      this.#work();
    });
  }

  #connect(): void {
    const base = this.#exchange.baseUrls.current;
    const { timeout } = this.#exchange;
    try {
      this.#connection = new Connection(base, this.#key, this.#kind, timeout, {
        opened: () => this.#opened(),
        text: (data) => this.#heard(data),
        closed: (error, wasOpen) => void this.#closed(base, error, wasOpen),
      });
    } catch (error) {
      this.#fail(error as Error); // of the class, as for a page of https and a base URL of http
    }
  }

  #opened(): void {
    this.#openedAt = this.#heardAt = now();
    this.#onConnection(true);
    for (const read of this.#reads.values()) this.#begin(read);
    this.#work();
  }

  /** The connection has ended. Look for the reason where a page cannot see it, and open another one after a pause. */
  async #closed(base: string, error: FanmailError, wasOpen: boolean): Promise<void> {
    this.#connection = undefined;
    this.#begun.clear();
    this.#resting.clear();
    if (wasOpen) this.#onConnection(false);
    this.#isWaiting = true;
    for (const read of this.#reads.values()) read.interrupted();
    this.#lanes.interrupt(error);
    if (this.#isClosed && this.#lanes.isIdle) return;
    const reason = wasOpen ? error : await whyRefused(this.#exchange, error);
    if (isFinal(reason)) {
      this.#fail(reason);
      return;
    }
    this.#exchange.baseUrls.switchFrom(base);
    this.#exchange.retries.note(reason);
    this.#failures = wasOpen && now() - this.#openedAt > STABLE ? 1 : this.#failures + 1;
    runAfter(this.#exchange.retries.pause(this.#failures, reason.retryAfter), () => {
      this.#isWaiting = false;
      this.#work();
    });
  }

  /** Let everything fail. The next operation opens another connection. */
  #fail(error: Error): void {
    this.#isWaiting = false;
    for (const read of this.#reads.values()) read.fail(error);
    this.#lanes.fail(error);
  }

  #begin(read: Read): void {
    const ref = `read-${++this.#lastRef}`;
    this.#begun.set(ref, read);
    this.tell({ ...read.request, ref });
  }

  #heard(data: string): void {
    this.#heardAt = now();
    try {
      if (data.length > this.#exchange.transport.maxResponseBytes) throw new TypeError("more than maxResponseBytes");
      this.#dispatch(parseLine(data));
    } catch (error) {
      this.#connection?.fail(new ServerFault(`what the session got is not from Fanmail: ${String(error)}`));
    }
    this.#workSoon();
  }

  #dispatch(members: ops.Members): void {
    const { op, ref, topic, user, ...rest } = members;
    const error = op === "ok" || op === "message" || op === "gap" ? undefined : parseEventError(rest);
    if (op === "error" && (ref ?? topic ?? user ?? null) === null) {
      this.#connection?.fail(new ServerFault(`the server could not read an operation: ${error?.message}`));
    }
    if (typeof ref === "number") return this.#lanes.answer(ref, members, error);
    const begun = typeof ref === "string" ? this.#begun.get(ref) : undefined;
    if (begun) this.#begun.delete(ref as string);
    const read = begun ?? this.#reads.get(ops.mailbox(String(topic), String(user)));
    if (!read || op === "ok") return;
    if (op === "message") {
      if (read.push(parseMessage(members, read.topic, read.user))) return;
      this.#connection?.fail(new OutcomeUnknown("a read got more than its window, and begins again"));
    } else if (op === "gap") {
      read.gap({ from: text(members, "from"), position: text(members, "position") });
    } else if (op === "end" || (op === "error" && begun)) {
      this.ended(read, error as FanmailError);
    }
  }

  /** A read has ended by itself: begin it again after a pause, unless that is useless. */
  ended(read: Read, error: FanmailError): void {
    if (this.#resting.has(read)) return;
    const failures = read.ended(error);
    if (!failures) return;
    this.#resting.add(read);
    const connection = this.#connection;
    this.repeat(failures, error, () => {
      if (this.#connection !== connection) return; // another one has begun all reads
      this.#resting.delete(read);
      if (this.#reads.get(read.key) === read) this.#begin(read);
    });
  }

  /** Try again after the pause that follows this many failures in a row. */
  repeat(failures: number, error: FanmailError, call: () => void): void {
    this.#exchange.retries.note(error);
    runAfter(this.#exchange.retries.pause(failures, error.retryAfter), call);
  }

  /** Notice what does not happen: no connection in time, no answer, a peer that has vanished. */
  #tick(): void {
    this.#lanes.expire();
    if (this.#lanes.isIdle && !this.#reads.size) {
      clearInterval(this.#ticking);
      this.#ticking = undefined;
      return;
    }
    const connection = this.#connection;
    const time = now();
    const { timeout } = this.#exchange;
    if (!connection?.isOpen) return;
    const { oldestSentAt } = this.#lanes;
    const isUnanswered = time - Math.max(oldestSentAt, this.#heardAt) > timeout || time - oldestSentAt > 6 * timeout;
    const isProbed = this.#probedAt > this.#heardAt;
    if (isUnanswered || (isProbed && time - this.#probedAt > timeout)) {
      connection.fail(new OutcomeUnknown(`no answer within ${timeout} s`));
    } else if (!isProbed && time - this.#heardAt > SILENCE) {
      this.#probedAt = time;
      connection.send(PROBE);
    }
  }
}

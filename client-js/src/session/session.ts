/** The public class of sessions. */

import type { Exchange } from "../exchange.js";
import type { Message, Published } from "../message.js";
import type { CallOptions, PublishOptions, SubscriptionSettings } from "../options.js";
import type { WebSocketClass } from "./connection.js";
import { Engine } from "./engine.js";
import * as ops from "./ops.js";
import { Read, type SessionReadOptions } from "./reads.js";

const DEFAULT_IN_FLIGHT = 1000;

/** Options of `Client.session`. */
export interface SessionOptions {
  /** The class of WebSockets; by default the global one, which Node.js has from version 22 on. `ws` of npm has one. */
  readonly WebSocket?: WebSocketClass;
  /** The most operations that are sent and not answered: 1,000; from 1 to 1,000. More wait here. */
  readonly inFlight?: number;
  /** Called when the session is connected, and when it has lost its connection. */
  readonly onConnection?: (isConnected: boolean) => void;
}

/**
 * One WebSocket over which a client publishes, reads any number of mailboxes and acknowledges.
 *
 * It connects when there is something to do, and again after any failure, to another front if there are several base
 * URLs. Loops then continue after what was handled, and operations under way are sent again, publishes under their
 * idempotency keys; for how long, the client's `retries` say. Publishes to one topic are stored in the order in which
 * they were made, unless the broker refuses one with 503 and accepts one that was in flight behind it: await each, or
 * use `inFlight: 1`, where that matters.
 *
 * All calls throw the errors of `Client`. An operation whose signal is aborted may be executed all the same. Close the
 * session: an open one keeps a program of Node.js running.
 */
export class Session {
  readonly #engine: Engine;

  /** @internal */
  constructor(exchange: Exchange, key: string, options: SessionOptions) {
    const kind = options.WebSocket ?? (globalThis.WebSocket as WebSocketClass | undefined);
    if (!kind) throw new TypeError("there is no global WebSocket: give a class as the option WebSocket, as that of ws");
    const inFlight = options.inFlight ?? DEFAULT_IN_FLIGHT;
    if (!Number.isInteger(inFlight) || inFlight < 1 || inFlight > DEFAULT_IN_FLIGHT) {
      throw new TypeError(`inFlight is not from 1 to ${DEFAULT_IN_FLIGHT}`);
    }
    this.#engine = new Engine(exchange, key, kind, inFlight, options.onConnection ?? (() => undefined));
  }

  /** Publish one message, as `Client.publish` does. Await it, or several at once. */
  async publish(topic: string, body: Uint8Array | string = "", options: PublishOptions = {}): Promise<Published> {
    return this.#engine.submit(ops.publish(topic, body, options), options.signal);
  }

  /** Subscribe a user, as `Client.subscribe` does. */
  async subscribe(topic: string, user: string, settings: SubscriptionSettings = {}): Promise<boolean> {
    return this.#engine.submit(ops.subscribe(topic, user, settings), settings.signal);
  }

  /** End a subscription and delete its unread messages. A loop that reads it throws `NoSubscription`. */
  async unsubscribe(topic: string, user: string, options: CallOptions = {}): Promise<void> {
    return this.#engine.submit(ops.unsubscribe(topic, user), options.signal);
  }

  /**
   * Yield every message of a user as it arrives, **at least once**, until the session is closed.
   *
   * In mode `after` they come in order, and a message is handled when the next one is asked for. In mode `lease` each
   * must be passed to `acknowledge` or `giveBack`, at any time; leases are extended while the loop goes on. Those of a
   * connection are given back when it ends. A session reads a mailbox once at a time, and at most 256 of them.
   *
   * Throws what `Client.stream` throws, and TypeError if the session reads the mailbox already.
   */
  read(topic: string, user: string, options: SessionReadOptions = {}): AsyncGenerator<Message, void, void> {
    return new Read(this.#engine, topic, user, options).messages();
  }

  /** Acknowledge a leased message. Throws `LeaseLost`. */
  async acknowledge(message: Message, options: CallOptions = {}): Promise<void> {
    const done = this.#engine.submit(ops.acknowledge(message), options.signal);
    this.#engine.settled(message.topic, message.user, message.receipt);
    return done;
  }

  /** End a lease so that the message is redelivered, to any worker, now or after `delay`. Throws `LeaseLost`. */
  async giveBack(message: Message, delay = 0, options: CallOptions = {}): Promise<void> {
    const done = this.#engine.submit(ops.giveBack(message, delay), options.signal);
    this.#engine.settled(message.topic, message.user, message.receipt);
    return done;
  }

  /** Acknowledge everything up to and including an id, as `Client.advance` does. */
  async advance(topic: string, user: string, id: string, options: CallOptions = {}): Promise<void> {
    return this.#engine.submit(ops.advance(topic, user, id), options.signal);
  }

  /** End all loops, wait until everything under way is answered or its retries end, and end the connection. */
  close(): Promise<void> {
    return this.#engine.close();
  }
}

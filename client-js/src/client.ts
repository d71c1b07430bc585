/** The client of one cluster. */

import * as calls from "./calls.js";
import { readMessages } from "./consumer.js";
import { checkedHeader } from "./encoding.js";
import { Exchange } from "./exchange.js";
import type { Call, Field } from "./http_call.js";
import type {
  Acknowledged,
  DeadLetters,
  Fetched,
  Message,
  Published,
  SubscriptionStatus,
  Worked,
} from "./message.js";
import type * as options from "./options.js";
import { BaseUrls, Retries } from "./retry.js";
import { Session, type SessionOptions } from "./session/session.js";
import { streamMessages } from "./streaming.js";
import { runWorker } from "./worker.js";

/** The first front of `bin/quickstart`. */
const DEFAULT_URL = "http://127.0.0.1:8100";
const MAX_RESPONSE_BYTES = 64 * 1024 * 1024;
const DEFAULT_TIMEOUT = 10;
const API_KEY = /^[!-~]{1,4096}$/;

/**
 * A client of one cluster.
 *
 * Names of topics and users are texts of 1 to 255 bytes of UTF-8; they are percent-encoded here. All times are seconds.
 * All calls throw `Unavailable` (not executed) or `OutcomeUnknown` when the retries end, `TypeError` for arguments that
 * no request can carry, and the other classes of `FanmailError` at once.
 */
export class Client {
  readonly #exchange: Exchange;
  readonly #key: string;

  /**
   * @param urls - One or several base URLs of fronts or proxies; the first one that works is used until it fails. By
   *   default those in the variable `FANMAIL_URL`, separated by commas, or the first front of `bin/quickstart`.
   * @param options - Key, retries, limits. Throws TypeError for a malformed URL, key or header.
   */
  constructor(urls?: string | readonly string[], options: options.ClientOptions = {}) {
    const given = urls ?? variable("FANMAIL_URL") ?? DEFAULT_URL;
    this.#key = apiKey(options);
    const transport = {
      fetch: options.fetch ?? globalThis.fetch,
      headers: clientHeaders(options, this.#key),
      maxResponseBytes: options.maxResponseBytes ?? MAX_RESPONSE_BYTES,
    };
    this.#exchange = new Exchange(
      transport,
      new BaseUrls(typeof given === "string" ? given.split(/[\s,]+/).filter(Boolean) : given),
      new Retries(options.retries),
      options.timeout ?? DEFAULT_TIMEOUT,
      options.warn ?? ((text) => console.warn(`fanmail: ${text}`)),
    );
  }

  /**
   * Publish one message. A text is sent as UTF-8.
   *
   * It is stored once, however often the request is sent, because of its idempotency key, which the server keeps for 10
   * minutes by default. Throws `Refused` at a limit.
   */
  publish(
    topic: string,
    body: Uint8Array | string = "",
    options: options.PublishOptions = {},
  ): Promise<Published> {
    return this.#call(() => calls.publish(topic, body, options), options);
  }

  /**
   * Publish a batch atomically, in order and with consecutive ids.
   *
   * By default a batch has at most 10,000 messages (else `BadRequest`) and 8 MiB (else `TooLarge`). `batches` splits
   * more messages into batches.
   */
  publishMany(
    topic: string,
    bodies: Iterable<Uint8Array | string>,
    options: options.PublishOptions = {},
  ): Promise<Published> {
    return this.#call(() => calls.publishMany(topic, bodies, options), options);
  }

  /**
   * Subscribe a user. Return whether the user was not subscribed before, which is not certain after retries.
   *
   * Subscribing again is harmless and changes the settings that are given.
   */
  subscribe(topic: string, user: string, settings: options.SubscriptionSettings = {}): Promise<boolean> {
    return this.#call(() => calls.subscribe(topic, user, settings), settings);
  }

  /** Change the settings of a subscription that are given. Throws `NoSubscription`. */
  configure(topic: string, user: string, settings: options.SubscriptionSettings): Promise<void> {
    return this.#call(() => calls.configure(topic, user, settings), settings);
  }

  /**
   * End a subscription and delete its unread messages.
   *
   * Throws `NoSubscription`, but not if a previous try, whose response was lost, has ended the subscription.
   */
  unsubscribe(topic: string, user: string, options: options.CallOptions = {}): Promise<void> {
    return this.#call(() => calls.unsubscribe(topic, user), options);
  }

  /** Return the status of a subscription without changing it. Throws `NoSubscription`. */
  status(topic: string, user: string, options: options.CallOptions = {}): Promise<SubscriptionStatus> {
    return this.#call(() => calls.status(topic, user), options);
  }

  /**
   * Fetch the next messages, or none if none waits.
   *
   * Without `after` and `lease` the messages are *taken*, which is at-most-once delivery: if the response is lost,
   * `OutcomeUnknown` is thrown and they may be gone. Throws `NoSubscription`.
   */
  fetch(topic: string, user: string, options: options.FetchOptions = {}): Promise<Fetched> {
    return this.#call(() => calls.fetch(topic, user, options), options);
  }

  /** Fetch the next message, or undefined if none waits; like `fetch`. */
  async receive(topic: string, user: string, options: options.ReceiveOptions = {}): Promise<Message | undefined> {
    const fetched = await this.fetch(topic, user, { ...options, limit: 1 });
    return fetched.messages[0];
  }

  /** Acknowledge everything up to and including an id, without reading. Throws what `fetch` with `after` throws. */
  advance(topic: string, user: string, id: string, options: options.CallOptions = {}): Promise<void> {
    return this.#call(() => calls.advance(topic, user, id), options);
  }

  /** Acknowledge a leased message. Throws `LeaseLost`. */
  acknowledge(message: Message, options: options.CallOptions = {}): Promise<void> {
    return this.#call(() => calls.acknowledge(message), options);
  }

  /** Acknowledge leased messages of one user. Return a result for each, in order. At most 10,000. */
  acknowledgeMany(messages: readonly Message[], options: options.CallOptions = {}): Promise<Acknowledged[]> {
    return this.#call(() => calls.acknowledgeMany(messages), options);
  }

  /** Make a lease end this many seconds from now. Throws `LeaseLost`. */
  extend(message: Message, lease: number, options: options.CallOptions = {}): Promise<void> {
    return this.#call(() => calls.extend(message, lease), options);
  }

  /** End a lease so that the message is redelivered, to any worker, now or after `delay`. Throws `LeaseLost`. */
  giveBack(message: Message, delay = 0, options: options.CallOptions = {}): Promise<void> {
    return this.#call(() => calls.giveBack(message, delay), options);
  }

  /** Return a page of dead letters in order of id, without changing them. Throws `NoSubscription`. */
  dead(topic: string, user: string, options: options.DeadOptions = {}): Promise<DeadLetters> {
    return this.#call(() => calls.dead(topic, user, options.limit ?? 100, options.after), options);
  }

  /** Redeliver dead letters whose ttl has not passed. Return their number. Not retried if the outcome is unknown. */
  putBackDead(topic: string, user: string, options: options.CallOptions = {}): Promise<number> {
    return this.#call(() => calls.putBackDead(topic, user), options);
  }

  /** Delete all dead letters. Return their number. Not retried if the outcome is unknown. */
  dropDead(topic: string, user: string, options: options.CallOptions = {}): Promise<number> {
    return this.#call(() => calls.dropDead(topic, user), options);
  }

  /**
   * Yield every message of a user, in order and **at least once**, endlessly or until none waits.
   *
   * A message is acknowledged when the next one is asked for, so one whose handling was interrupted is delivered again.
   * To stop within the loop and acknowledge what was handled, call `advance(topic, user, message.id)`.
   *
   * Throws `NoSubscription`, also when the subscription ends during the loop: a broker without a store that was
   * restarted has lost the subscription and its messages. Throws `CursorLost` for an id of an earlier life of the
   * topic, `LeasesOut` if workers lease messages of the same user, and the signal's reason when it is aborted.
   */
  messages(topic: string, user: string, options: options.ReadOptions = {}): AsyncGenerator<Message, void, void> {
    return readMessages(this.#exchange, topic, user, options);
  }

  /**
   * Yield every message of a user as it arrives, in order and **at least once**, endlessly.
   *
   * One open response brings all messages, so there is no request per message, and none waits for a poll. A message is
   * handled when the next one is asked for; what is handled is acknowledged once per second, and when the loop ends. To
   * acknowledge the message at which a loop stops, call `advance(topic, user, message.id)`.
   *
   * After a failure, or when the server stops, another stream begins after the last message that was handled, at any
   * base URL, and without a limit of time. Only 400, 401, 403 and 404, the end of the subscription, and a line that is
   * not of this API or larger than `maxResponseBytes` are thrown; and the signal's reason when it is aborted. Messages
   * that are not delivered are told to `onGap`.
   *
   * While no message is asked for, little is read from the connection: a slow reader does not use more memory.
   */
  stream(topic: string, user: string, options: options.StreamOptions = {}): AsyncGenerator<Message, void, void> {
    return streamMessages(this.#exchange, topic, user, options);
  }

  /**
   * Lease messages one by one and call `handle` with each. Several workers may share a user.
   *
   * When `handle` returns, or the promise that it returns is fulfilled, the message is acknowledged. When it fails, the
   * message is given back and redelivered later; other messages pass it meanwhile. The lease is extended while `handle`
   * runs; if it is lost, `handle` learns that from its signal.
   *
   * Delivery is at least once: a message whose worker vanished or lost its lease is delivered to another worker. A
   * message whose handler always fails is redelivered endlessly unless the subscription has `maxDeliveries`. Throws the
   * errors of `fetch`.
   */
  work(topic: string, user: string, handle: options.Handler, options: options.WorkOptions = {}): Promise<Worked> {
    return runWorker(this.#exchange, topic, user, handle, options);
  }

  /** Return a new session: one WebSocket for many mailboxes and many publishes in flight. Close it. */
  session(options: SessionOptions = {}): Session {
    return new Session(this.#exchange, this.#key, options);
  }

  /** Make a call. What its arguments make it throw rejects the promise, too. */
  async #call<T>(build: () => Call<T>, { signal }: options.CallOptions): Promise<T> {
    return this.#exchange.call(build(), signal);
  }
}

/** Return the API key, "" for none. Throws TypeError, with a text that does not contain it. */
function apiKey({ apiKey, headers = {} }: options.ClientOptions): string {
  const hasCredentials = Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
  if (hasCredentials && apiKey) throw new TypeError("an API key beside an Authorization header");
  const key = hasCredentials ? "" : (apiKey ?? variable("FANMAIL_API_KEY") ?? "");
  if (key && !API_KEY.test(key)) {
    throw new TypeError("the API key has a blank, a control character or a non-ASCII character, or is too long");
  }
  return key;
}

/** Return the headers of every request. */
function clientHeaders({ headers = {} }: options.ClientOptions, key: string): Field[] {
  const fields = Object.entries(headers).map(([name, value]) => checkedHeader(name, value));
  return key ? [...fields, ["Authorization", `Bearer ${key}`]] : fields;
}

/** Return an environment variable. Browsers have none. */
function variable(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name] || undefined;
}

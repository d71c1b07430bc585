/** The options of the methods of `Client`. All times are seconds. */

import type { Gap, Message } from "./message.js";
import type { RetryOptions } from "./retry.js";

/** Options of a client. */
export interface ClientOptions {
  /** By default the variable `FANMAIL_API_KEY`, where there are variables; "" for none. Sent to the base URLs only. */
  readonly apiKey?: string;
  /** The rules of retries. */
  readonly retries?: RetryOptions;
  /** The time limit of one try, not counting the wait of a long poll: 10. It must exceed `broker_timeout`. */
  readonly timeout?: number;
  /** Headers that are sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The most bytes of a response, or of a line of a stream: 64 MiB. A larger one throws `ServerFault`. */
  readonly maxResponseBytes?: number;
  /** Called with what loops cannot throw, as a gap in a stream; by default `console.warn`. */
  readonly warn?: (text: string) => void;
  /** Used in place of the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/** Options of every call. */
export interface CallOptions {
  /** When it is aborted, the call throws the signal's reason. Whether the server executes the call is then unknown. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `publish` and `publishMany`. */
export interface PublishOptions extends CallOptions {
  /** The Content-Type. */
  readonly type?: string | undefined;
  /**
   * Headers that travel with the message: `Meta-*`, `ce-*`, `traceparent`, `tracestate`, `Content-Encoding`,
   * `Content-Language`. Throws TypeError for others, and for what no header can carry.
   */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Time to live; the message is not delivered later than this. */
  readonly ttl?: number | undefined;
  /** How much later to publish the message. */
  readonly delay?: number | undefined;
  /**
   * The idempotency key; by default a new one. "" sends none, which is cheaper for the broker, but throws
   * `OutcomeUnknown` at once after a 504 or a lost connection.
   */
  readonly key?: string | undefined;
}

/** Settings of a subscription. Those that are not given do not change. */
export interface SubscriptionSettings extends CallOptions {
  /** The subscription ends after this time without a request; 0: never. */
  readonly expiresAfter?: number | undefined;
  /** A message that was leased this often without being acknowledged becomes a dead letter; 0: never. */
  readonly maxDeliveries?: number | undefined;
}

/** Options of `receive`. */
export interface ReceiveOptions extends CallOptions {
  /**
   * The cursor: acknowledges everything up to and including this id, and takes nothing. "0" acknowledges nothing.
   * Throws `CursorLost`, `LeasesOut`.
   */
  readonly after?: string | undefined;
  /** Leases each message for this time. Throws `Refused` if too many messages are leased. */
  readonly lease?: number | undefined;
  /** How long to wait for a message. */
  readonly wait?: number | undefined;
}

/** Options of `fetch`. */
export interface FetchOptions extends ReceiveOptions {
  /** The greatest number of messages: 100. */
  readonly limit?: number | undefined;
}

/** Options of `dead`. */
export interface DeadOptions extends CallOptions {
  /** The greatest number of dead letters: 100. */
  readonly limit?: number | undefined;
  /** The page begins after this id. */
  readonly after?: string | undefined;
}

/** Options of `messages`. */
export interface ReadOptions extends CallOptions {
  /** The cursor. "0", the default, continues at the position of the user. */
  readonly after?: string | undefined;
  /** The time of a long poll: 20, or 0 with `untilEmpty`. */
  readonly wait?: number | undefined;
  /** Messages per fetch: 1. They are acknowledged together: fewer requests, but more repeats after a crash. */
  readonly batch?: number | undefined;
  /** Whether to stop when no message waits. */
  readonly untilEmpty?: boolean | undefined;
}

/** Options of `stream`. */
export interface StreamOptions extends CallOptions {
  /** The cursor. "0", the default, continues at the position of the user. */
  readonly after?: string | undefined;
  /** Called for messages that are not delivered; by default the client's `warn` is. */
  readonly onGap?: ((gap: Gap) => void) | undefined;
}

/** Options of `work`. */
export interface WorkOptions {
  /** The time of a lease: 30. It is extended while the handler runs, so it need only cover a crash. */
  readonly lease?: number | undefined;
  /** The time of a long poll: 20, or 0 with `untilEmpty`. */
  readonly wait?: number | undefined;
  /** The time before the first redelivery of a message whose handler failed: 1; doubled with each further attempt. */
  readonly delay?: number | undefined;
  /** Upper limit of the doubled delay: 60. */
  readonly maxDelay?: number | undefined;
  /** Stop after this many messages. */
  readonly limit?: number | undefined;
  /** Whether to stop when no message waits, apart from delayed ones. */
  readonly untilEmpty?: boolean | undefined;
  /** Called after each failure of the handler; may return another delay. */
  readonly failed?: ((message: Message, error: unknown) => number | undefined | void) | undefined;
  /** When it is aborted, the message under way is finished, no other one is leased, and `work` returns. */
  readonly signal?: AbortSignal | undefined;
}

/** A handler of `work`. Its `signal` is aborted when the lease is lost: another worker gets the message, too. */
export type Handler = (message: Message, context: { readonly signal: AbortSignal }) => unknown;

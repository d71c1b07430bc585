/** Messages, and the other results of calls. */

import { bodyBytes, fromBase64 } from "./encoding.js";

/** The members of a message beside its body. */
export interface MessageFields {
  /** `<epoch>-<seq>`: seq counts 1, 2, 3, ... per topic, without gaps; epoch is the life of the topic. */
  readonly id: string;
  /** The Content-Type. */
  readonly type: string;
  /** The other headers that travelled with the message, by lower-case name: `meta-*`, `ce-*`, `traceparent`, ... */
  readonly headers: Readonly<Record<string, string>>;
  /** When the message was published. */
  readonly time: Date;
  /** With leases: the number of deliveries, including this one; otherwise 1. */
  readonly attempt: number;
  /** The number of messages that wait after this one, at most; 0 in streams and sessions, which do not tell. */
  readonly pending: number;
  /** With leases: the receipt that acknowledges the message; otherwise "". */
  readonly receipt: string;
  readonly topic: string;
  readonly user: string;
}

/** A message as it was delivered. */
export class Message implements MessageFields {
  readonly id: string;
  readonly type: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly time: Date;
  readonly attempt: number;
  readonly pending: number;
  readonly receipt: string;
  readonly topic: string;
  readonly user: string;
  /** As it came: most messages are text, and most readers want it. */
  readonly #content: { readonly text: string } | { readonly base64: string };

  /** @internal */
  constructor(fields: MessageFields, content: { readonly text: string } | { readonly base64: string }) {
    this.id = fields.id;
    this.type = fields.type;
    this.headers = fields.headers;
    this.time = fields.time;
    this.attempt = fields.attempt;
    this.pending = fields.pending;
    this.receipt = fields.receipt;
    this.topic = fields.topic;
    this.user = fields.user;
    this.#content = content;
  }

  /** The body. */
  get body(): Uint8Array {
    return "text" in this.#content ? bodyBytes(this.#content.text) : fromBase64(this.#content.base64);
  }

  /** The body decoded as UTF-8. Throws TypeError if it is not UTF-8. */
  get text(): string {
    if ("text" in this.#content) return this.#content.text;
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.body);
  }

  /** Return the body decoded as JSON. Throws SyntaxError. */
  json(): unknown {
    return JSON.parse(this.text);
  }
}

/** Return the receipt of a message. Throws TypeError if it was not leased. */
export function receiptOf({ id, receipt }: Message): string {
  if (!receipt) throw new TypeError(`message ${id} was not leased`);
  return receipt;
}

/** Messages that were delivered together, in order. */
export interface Fetched {
  readonly messages: readonly Message[];
  /** Seconds to wait before the next poll if the server could not wait, else 0. */
  readonly retryAfter: number;
  /** The number of messages that wait after these, at most. */
  readonly more: number;
}

/** The result of a publish. */
export interface Published {
  /** The number of users who get the message. 0: it was dropped, or it is delayed. */
  readonly subscribers: number;
  /** The id of the message, or of the first one of a batch. undefined if nothing was stored, or not yet. */
  readonly id: string | undefined;
  /** The number of messages in the batch. */
  readonly count: number;
  /** When a delayed message is published. */
  readonly due: Date | undefined;
  /** Whether the idempotency key was known. If so, this is the result of the first publish, and nothing was stored. */
  readonly replayed: boolean;
}

/** The status of a subscription. */
export interface SubscriptionStatus {
  /** The number of waiting messages, at most. */
  readonly pending: number;
  /** The number of messages that are leased or await redelivery. */
  readonly leased: number;
  /** The number of dead letters. */
  readonly dead: number;
  /** The id of the next message, if one waits. */
  readonly nextId: string | undefined;
}

/** The result for one of several acknowledged receipts. */
export interface Acknowledged {
  readonly receipt: string;
  readonly done: boolean;
  /** Why the acknowledgement failed, else "". */
  readonly code: string;
}

/** One page of dead letters, oldest first. */
export interface DeadLetters {
  readonly messages: readonly Message[];
  /** The number of dead letters after this page. */
  readonly left: number;
}

/** The numbers of messages that a worker handled. */
export interface Worked {
  /** Acknowledged. */
  readonly done: number;
  /** Given back. */
  readonly failed: number;
  /** Handled after the lease had passed to another worker, which handles the message too. */
  readonly lost: number;
}

/** Messages that a stream or session does not deliver, as they were acknowledged elsewhere or dropped before. */
export interface Gap {
  /** The id of the first one; after the end of a topic's life, the last id that was read of it. */
  readonly from: string;
  /** The id with which the stream continues; "" if it is not known. */
  readonly position: string;
}

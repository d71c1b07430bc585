/** The calls of the HTTP API: one function per call, from its arguments to a `Call`. `Client` says what they do. */

import { bodyBytes, checkedHeader, encodePath, encodeQuery, messageHeaders, packFrames } from "./encoding.js";
import type { Call, Field } from "./http_call.js";
import {
  type Acknowledged,
  type DeadLetters,
  type Fetched,
  type Message,
  type Published,
  receiptOf,
  type SubscriptionStatus,
} from "./message.js";
import type { FetchOptions, PublishOptions, SubscriptionSettings } from "./options.js";
import * as responses from "./responses.js";

const NDJSON: Field = ["Accept", "application/x-ndjson"];

export function publish(topic: string, body: Uint8Array | string, options: PublishOptions): Call<Published> {
  return publishing(topic, bodyBytes(body), {}, messageHeaders(options.type, options.headers), options);
}

export function publishMany(
  topic: string,
  bodies: Iterable<Uint8Array | string>,
  options: PublishOptions,
): Call<Published> {
  // Content-Encoding would describe the whole batch.
  const headers = messageHeaders(options.type, options.headers).map(
    ([name, value]): Field => [name.toLowerCase() === "content-encoding" ? "Msg-Encoding" : name, value],
  );
  const body = packFrames([...bodies].map(bodyBytes));
  return publishing(topic, body, { batch: "frames" }, headers, options);
}

function publishing(
  topic: string,
  body: Uint8Array,
  query: Record<string, string>,
  headers: readonly Field[],
  { ttl, delay, key }: PublishOptions,
): Call<Published> {
  const target = encodePath(topic) + encodeQuery({ ...query, ttl, delay });
  const keyed = key ? [...headers, checkedHeader("Idempotency-Key", key)] : headers;
  return {
    request: { method: "POST", target, headers: keyed, body },
    parse: responses.parsePublished,
    repeatable: Boolean(key),
    wantsKey: key === undefined,
  };
}

export function subscribe(topic: string, user: string, settings: SubscriptionSettings): Call<boolean> {
  return simple("POST", encodePath(topic, user) + settingsQuery(settings), responses.parseCreated);
}

export function configure(topic: string, user: string, settings: SubscriptionSettings): Call<void> {
  return simple("PATCH", encodePath(topic, user) + settingsQuery(settings), responses.parseNothing);
}

export function unsubscribe(topic: string, user: string): Call<void> {
  return { ...simple("DELETE", encodePath(topic, user), responses.parseNothing), goneIsDone: true };
}

export function status(topic: string, user: string): Call<SubscriptionStatus> {
  return simple("HEAD", encodePath(topic, user), responses.parseStatus);
}

/** Always with `max`: of a single message `fetch` would decode the content coding that its publisher named. */
export function fetch(topic: string, user: string, options: FetchOptions): Call<Fetched> {
  const { limit = 100, after, lease, wait } = options;
  const target = encodePath(topic, user) + encodeQuery({ max: limit, after, lease, wait: wait || undefined });
  return {
    request: { method: "GET", target, headers: [NDJSON] },
    parse: (answer) => responses.parseMessages(answer, topic, user),
    repeatable: after !== undefined || lease !== undefined,
    extraTimeout: wait ?? 0,
  };
}

export function advance(topic: string, user: string, id: string): Call<void> {
  return simple("PATCH", encodePath(topic, user) + encodeQuery({ after: id }), responses.parseNothing);
}

export function acknowledge(message: Message): Call<void> {
  return simple("DELETE", receiptPath(message), responses.parseNothing);
}

export function acknowledgeMany(messages: readonly Message[]): Call<Acknowledged[]> {
  const [first] = messages;
  if (!first) throw new TypeError("no messages to acknowledge");
  const { topic, user } = first;
  if (messages.some((each) => each.topic !== topic || each.user !== user)) {
    throw new TypeError("messages of several users cannot be acknowledged together");
  }
  const body = bodyBytes(messages.map(receiptOf).join("\n"));
  const target = `${encodePath(topic, user)}/acks`;
  return {
    request: { method: "POST", target, headers: [["Content-Type", "text/plain"]], body },
    parse: responses.parseAcknowledged,
    repeatable: true,
  };
}

export function extend(message: Message, lease: number): Call<void> {
  return simple("PATCH", receiptPath(message) + encodeQuery({ lease }), responses.parseNothing);
}

export function giveBack(message: Message, delay: number): Call<void> {
  const query = encodeQuery({ lease: 0, delay: delay || undefined });
  return simple("PATCH", receiptPath(message) + query, responses.parseNothing);
}

export function dead(topic: string, user: string, limit: number, after: string | undefined): Call<DeadLetters> {
  const target = deadPath(topic, user) + encodeQuery({ max: limit, after });
  return simple("GET", target, (answer) => responses.parseDeadLetters(answer, topic, user));
}

/** Neither is repeated if its outcome is unknown: it might concern letters that have died since. */
export function putBackDead(topic: string, user: string): Call<number> {
  return { ...simple("POST", deadPath(topic, user), responses.parseCount), repeatable: false };
}

export function dropDead(topic: string, user: string): Call<number> {
  return { ...simple("DELETE", deadPath(topic, user), responses.parseCount), repeatable: false };
}

/** Return a call without headers and body that may be repeated. */
function simple<T>(method: string, target: string, parse: Call<T>["parse"]): Call<T> {
  return { request: { method, target }, parse, repeatable: true };
}

function receiptPath(message: Message): string {
  return `${encodePath(message.topic, message.user)}/${receiptOf(message)}`;
}

function deadPath(topic: string, user: string): string {
  return `${encodePath(topic, user)}/dead`;
}

function settingsQuery({ expiresAfter, maxDeliveries }: SubscriptionSettings): string {
  return encodeQuery({ expires_after: expiresAfter, max_deliveries: maxDeliveries });
}

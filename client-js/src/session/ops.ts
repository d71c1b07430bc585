/** The operations of a session: JSON objects with the answers that belong to them, without I/O. */

import { bodyBytes, checkedHeader, messageHeaders, toBase64, wellFormed } from "../encoding.js";
import { BadRequest } from "../errors.js";
import { newKey } from "../exchange.js";
import { type Message, type Published, receiptOf } from "../message.js";
import type { PublishOptions, SubscriptionSettings } from "../options.js";
import { parseTime } from "../responses.js";

/** The members of a JSON object. */
export type Members = Record<string, unknown>;

/** One operation. */
export interface Op<T> {
  /** What is sent, beside `ref`. Members that are undefined are left out. */
  readonly members: Members;
  /** Operations of one lane are sent in order, also after failures. */
  readonly lane: string;
  /** The lease that it acknowledges. Those of one mailbox may be sent together. */
  readonly receipt?: string;
  /** Whether it may be sent again when its outcome is unknown. */
  readonly repeatable: boolean;
  /** Return the result that `ok` carries. */
  readonly parse: (answer: Members) => T;
}

/** Return members as JSON that is Unicode: of other JSON a server can read nothing, not even the `ref`. */
export function toJson(members: Members): string {
  const json = JSON.stringify(members);
  if (!json.includes("\\ud")) return json; // all surrogates that are escaped are lone ones
  return JSON.stringify(members, (_, value: unknown) => (typeof value === "string" ? wellFormed(value) : value));
}

/** Return a name. Throws `BadRequest` for one that is not Unicode; other illegal ones the server refuses. */
export function checkedName(name: string): string {
  if (wellFormed(name) === name) return name;
  throw new BadRequest(`${JSON.stringify(name)} is not a legal name`, { code: "bad-name" });
}

/** Return what names a mailbox. No name has a line end. */
export function mailbox(topic: string, user: string): string {
  return `${topic}\n${user}`;
}

export function publish(topic: string, body: Uint8Array | string, options: PublishOptions): Op<Published> {
  const { type, ttl, delay, key = newKey() } = options;
  if (key) checkedHeader("Idempotency-Key", key);
  const headers = messageHeaders(undefined, options.headers).map(([name, value]) => [name.toLowerCase(), value]);
  const members = {
    op: "publish",
    topic: checkedName(topic),
    ...(isShorterAsText(body) ? { text: body } : { base64: toBase64(bodyBytes(body)) }),
    type,
    meta: headers.length ? Object.fromEntries(headers) : undefined,
    ttl,
    delay,
    key: key || undefined,
  };
  return { members, lane: topic, repeatable: key !== "", parse: parsePublished };
}

/** Return whether a body is a text whose JSON is not longer than its base64: servers limit the sum. */
function isShorterAsText(body: Uint8Array | string): boolean {
  if (typeof body !== "string") return false;
  const escapes = JSON.stringify(body).length - 2 - body.length;
  if (escapes * 3 <= body.length) return true;
  const { length } = bodyBytes(body);
  return length + escapes <= 4 * Math.ceil(length / 3);
}

function parsePublished({ id, subscribers, replayed, due }: Members): Published {
  return {
    subscribers: Number(subscribers ?? 0),
    id: typeof id === "string" ? id : undefined,
    count: 1,
    due: typeof due === "string" ? parseTime(due) : undefined,
    replayed: replayed === true,
  };
}

export function subscribe(topic: string, user: string, settings: SubscriptionSettings): Op<boolean> {
  const { expiresAfter, maxDeliveries } = settings;
  const members = { op: "subscribe", expires_after: expiresAfter, max_deliveries: maxDeliveries };
  return onMailbox(topic, user, members, (answer) => answer["created"] === true);
}

export function unsubscribe(topic: string, user: string): Op<void> {
  return onMailbox(topic, user, { op: "unsubscribe" }, nothing);
}

/** Acknowledge everything up to an id. */
export function advance(topic: string, user: string, id: string): Op<void> {
  return onMailbox(topic, user, { op: "ack", id }, nothing);
}

export function acknowledge(message: Message): Op<void> {
  const receipt = receiptOf(message);
  return { ...onMailbox(message.topic, message.user, { op: "ack", receipt }, nothing), receipt };
}

/** Acknowledge leases of the mailbox of an acknowledgement. The result are the receipts whose leases were lost. */
export function acknowledgeAll({ members, lane }: Op<unknown>, receipts: readonly string[]): Op<Set<unknown>> {
  const parse = ({ lost }: Members): Set<unknown> => new Set((lost ?? []) as unknown[]);
  return { members: { ...members, receipt: undefined, receipts }, lane, repeatable: true, parse };
}

export function giveBack(message: Message, delay: number): Op<void> {
  return onMailbox(message.topic, message.user, { op: "nack", receipt: receiptOf(message), delay }, nothing);
}

export function extend(message: Message, lease: number): Op<void> {
  return onMailbox(message.topic, message.user, { op: "extend", receipt: receiptOf(message), lease }, nothing);
}

export function stop(topic: string, user: string): Op<void> {
  return onMailbox(topic, user, { op: "stop" }, nothing);
}

function onMailbox<T>(topic: string, user: string, members: Members, parse: (answer: Members) => T): Op<T> {
  const names = { topic: checkedName(topic), user: checkedName(user) };
  return { members: { ...members, ...names }, lane: mailbox(topic, user), repeatable: true, parse };
}

function nothing(): void {}

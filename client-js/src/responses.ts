/** Parsers of successful responses, from bytes and headers to values. */

import { type FanmailError, isRecord, parseRetryAfter, problemError } from "./errors.js";
import type { Answer } from "./http_call.js";
import {
  type Acknowledged,
  type DeadLetters,
  type Fetched,
  Message,
  type Published,
  type SubscriptionStatus,
} from "./message.js";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Ignore a response whose status says everything. */
export function parseNothing(): void {}

/** Return the result of a publish. */
export function parsePublished({ headers }: Answer): Published {
  const due = headers.get("msg-due");
  return {
    subscribers: due === null ? count(headers, "msg-subscribers") : 0,
    id: headers.get("msg-id") ?? undefined,
    count: headers.has("msg-count") ? count(headers, "msg-count") : 1,
    due: due === null ? undefined : parseTime(due),
    replayed: headers.get("idempotency-replayed") === "true",
  };
}

/** Return whether the subscription was created by this call. */
export function parseCreated({ headers }: Answer): boolean {
  return required(headers, "subscription-created") === "true";
}

/** Return the number of messages concerned. */
export function parseCount({ headers }: Answer): number {
  return count(headers, "msg-count");
}

/** Return the status of a subscription. */
export function parseStatus({ headers }: Answer): SubscriptionStatus {
  return {
    pending: count(headers, "msg-pending"),
    leased: count(headers, "msg-leased"),
    dead: count(headers, "msg-dead"),
    nextId: headers.get("msg-id") ?? undefined,
  };
}

/** Return the messages in a response to a `GET` with `max`, which is NDJSON. */
export function parseMessages(answer: Answer, topic: string, user: string): Fetched {
  const { headers, status } = answer;
  if (status === 204) return { messages: [], retryAfter: parseRetryAfter(headers.get("retry-after")), more: 0 };
  const more = count(headers, "msg-pending");
  const found = lines(answer.body);
  const messages = found.map((line, index) => parseMessage(line, topic, user, more + found.length - 1 - index));
  return { messages, retryAfter: 0, more };
}

/** Return a page of dead letters. */
export function parseDeadLetters(answer: Answer, topic: string, user: string): DeadLetters {
  const { messages, more } = parseMessages(answer, topic, user);
  return { messages, left: more };
}

/** Return one result per receipt, in order. */
export function parseAcknowledged({ body }: Answer): Acknowledged[] {
  return lines(body).map((line) => ({
    receipt: text(line, "receipt"),
    done: line["done"] === true,
    code: typeof line["code"] === "string" ? line["code"] : "",
  }));
}

/** Return a message from the JSON object that fetches, streams and sessions have of it. */
export function parseMessage(line: Record<string, unknown>, topic: string, user: string, pending = 0): Message {
  const { meta, receipt } = line;
  const fields = {
    id: text(line, "id"),
    type: text(line, "type"),
    headers: (isRecord(meta) ? meta : {}) as Record<string, string>,
    time: parseTime(text(line, "time")),
    attempt: Number(line["attempt"] ?? 1),
    receipt: typeof receipt === "string" ? receipt : "",
    pending,
    topic,
    user,
  };
  return new Message(fields, "text" in line ? { text: text(line, "text") } : { base64: text(line, "base64") });
}

/** Return the error that a session tells of. */
export function parseEventError(members: Record<string, unknown>): FanmailError {
  const { retry_after: retryAfter, status, ...problem } = members;
  return problemError(Number(status), problem, { retryAfter: Number(retryAfter ?? 0) });
}

/** Return a line as a JSON object. Throws if it is none. */
export function parseLine(line: Uint8Array | string): Record<string, unknown> {
  const found: unknown = JSON.parse(typeof line === "string" ? line : decoder.decode(line));
  if (!isRecord(found)) throw new TypeError("not a JSON object");
  return found;
}

/** Return a member that must be a text. */
export function text(members: Record<string, unknown>, name: string): string {
  const value = members[name];
  if (typeof value !== "string") throw new TypeError(`${name} is not a text`);
  return value;
}

/** Return a time of RFC 3339. */
export function parseTime(value: string): Date {
  const time = new Date(value);
  if (Number.isNaN(time.getTime())) throw new TypeError(`${JSON.stringify(value)} is not a time`);
  return time;
}

function lines(body: Uint8Array): Record<string, unknown>[] {
  return decoder.decode(body).split("\n").filter(Boolean).map(parseLine);
}

function required(headers: Headers, name: string): string {
  const value = headers.get(name);
  if (value === null) throw new TypeError(`there is no ${name}`);
  return value;
}

function count(headers: Headers, name: string): number {
  const value = Number(required(headers, name));
  if (!Number.isSafeInteger(value)) throw new TypeError(`${name} is not a number`);
  return value;
}

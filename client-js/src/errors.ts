/** The errors of the client: one class for each way in which a caller may want to react. */

import type { Answer, NoAnswer } from "./http_call.js";

/** What is known of a failure beside its explanation. */
export interface ErrorFacts {
  /** The stable code of the problem document, "" if the response had none. */
  readonly code?: string;
  /** The HTTP status, 0 if there was no response. */
  readonly status?: number;
  /** Seconds after which to retry, 0 if the server named none. */
  readonly retryAfter?: number;
  /** The other members of the problem document. */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** The id of the request in the server's log. */
  readonly requestId?: string;
}

/** A call failed, or its outcome is unknown; the subclass tells which. */
export class FanmailError extends Error {
  /** The stable code of the problem document, "" if the response had none. */
  readonly code: string;
  /** The HTTP status, 0 if there was no response. */
  readonly status: number;
  /** An explanation for humans. */
  readonly detail: string;
  /** Seconds after which to retry, 0 if the server named none. */
  readonly retryAfter: number;
  /** The other members of the problem document. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** The id of the request in the server's log, "" if there was no response. */
  readonly requestId: string;

  constructor(detail: string, facts: ErrorFacts = {}) {
    const head = [facts.status || "", facts.code ?? ""].filter(Boolean).join(" ");
    super(head ? `${head}: ${detail}` : detail);
    this.name = new.target.name;
    this.detail = detail;
    this.code = facts.code ?? "";
    this.status = facts.status ?? 0;
    this.retryAfter = facts.retryAfter ?? 0;
    this.fields = facts.fields ?? {};
    this.requestId = facts.requestId ?? "";
  }
}

/** 400, 405, 406 and other 4xx: the request is wrong, and a retry would fail too. */
export class BadRequest extends FanmailError {}

/** 413, 414, 431: the body, a name or the headers exceed a limit. */
export class TooLarge extends BadRequest {}

/** 422: the idempotency key was used for another request. */
export class KeyReused extends BadRequest {}

/** 401, 403: the API key is missing or wrong, or lacks the right to make this call. Never retried. */
export class Denied extends FanmailError {}

/** 404: there is no such topic or subscription. */
export class NotFound extends FanmailError {}

/** 404 `no-subscription`: the user is not, or no longer, subscribed to the topic. */
export class NoSubscription extends NotFound {}

/** 409 `lease-lost`: the message was delivered to another worker, or the topic began a new life. */
export class LeaseLost extends FanmailError {}

/** 409 `leases-out`: a cursor was used while messages of the user are leased. */
export class LeasesOut extends FanmailError {}

/** 410: the cursor is of an earlier life of the topic, whose messages are gone. */
export class CursorLost extends FanmailError {
  /** The id of the next message of this user, if one waits. */
  get oldest(): string | undefined {
    const value = this.fields["oldest"];
    return typeof value === "string" ? value : undefined;
  }
}

/** 429: a limit was reached and nothing was stored. `retryAfter` says when to retry. */
export class Refused extends FanmailError {}

/** 503, or no server was reached: **not executed**, always safe to retry. */
export class Unavailable extends FanmailError {}

/** 504, or the connection was lost after the request was sent: it may have been, or may yet be, executed. */
export class OutcomeUnknown extends FanmailError {}

/** 500, or a response that is not of this API. */
export class ServerFault extends FanmailError {}

type Kind = new (detail: string, facts?: ErrorFacts) => FanmailError;

const BY_CODE: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["no-subscription", NoSubscription],
  ["lease-lost", LeaseLost],
  ["leases-out", LeasesOut],
  ["cursor-lost", CursorLost],
  ["key-reused", KeyReused],
]);

const BY_STATUS: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [401, Denied],
  [403, Denied],
  [404, NotFound],
  [408, Unavailable], // the request did not arrive completely
  [410, CursorLost],
  [413, TooLarge],
  [414, TooLarge],
  [429, Refused],
  [431, TooLarge],
  [502, OutcomeUnknown], // a proxy lost its server
  [503, Unavailable],
  [504, OutcomeUnknown],
]);

/** Return the error for an unsuccessful or missing response. A response to a HEAD has no problem document. */
export function errorOf(answer: Answer | NoAnswer, method: string): FanmailError {
  if ("reason" in answer) return new (answer.sent ? OutcomeUnknown : Unavailable)(answer.reason);
  const { status, headers } = answer;
  if (method === "HEAD" && status === 404) {
    return new NoSubscription("this user has no subscription to this topic", { code: "no-subscription", status });
  }
  const facts = {
    retryAfter: parseRetryAfter(headers.get("retry-after")),
    requestId: headers.get("x-request-id") ?? "",
  };
  return problemError(status, problemOf(headers.get("content-type") ?? "", answer.body), facts);
}

/** Return the error that a problem document tells of: that of a response, an event of a stream, or a session. */
export function problemError(status: number, problem: Record<string, unknown>, facts: ErrorFacts = {}): FanmailError {
  const { code: givenCode, detail: givenDetail, ...fields } = problem;
  const code = typeof givenCode === "string" ? givenCode : "";
  const fallback = status >= 400 && status < 500 ? BadRequest : ServerFault;
  const kind = BY_CODE.get(code) ?? BY_STATUS.get(status) ?? fallback;
  const title = fields["title"];
  const detail = [givenDetail, title].find((each): each is string => typeof each === "string" && each !== "");
  return new kind(detail ?? `the server responded with ${status}`, { ...facts, code, status, fields });
}

/**
 * Return the members of a problem document. Plain text of any other response becomes the `detail`, in one line.
 *
 * A first line that begins with a status, as `413 Content Too Large`, is left out if there are others.
 */
function problemOf(mediaType: string, body: Uint8Array): Record<string, unknown> {
  const kind = mediaType.split(";", 1)[0]?.trim();
  const text = new TextDecoder().decode(body);
  if (kind === "text/plain") {
    const lines = text.split("\n").map((line) => line.replace(/\s+/g, " ").trim()).filter(Boolean);
    if (lines.length > 1 && /^\d{3}/.test(lines[0] ?? "")) lines.shift();
    return { detail: lines.join(" ").slice(0, 300) };
  }
  if (kind !== "application/problem+json") return {};
  try {
    const found: unknown = JSON.parse(text);
    return isRecord(found) ? found : {};
  } catch {
    return {};
  }
}

/** Return whether a value is a JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return `Retry-After` in seconds: 0 for none, and for a date, which our server never sends. */
export function parseRetryAfter(text: string | null): number {
  const seconds = Number(text ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : 0;
}

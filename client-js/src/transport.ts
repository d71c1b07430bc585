/** The use of `fetch`: one request, its deadline, and how its failures are told apart. */

import { runAfter } from "./clock.js";
import { headerBytes } from "./encoding.js";
import { FanmailError, ServerFault } from "./errors.js";
import type { Answer, Field, NoAnswer, Request } from "./http_call.js";

/** What all requests of a client share. */
export interface Transport {
  readonly fetch: typeof fetch;
  /** Headers of every request. */
  readonly headers: readonly Field[];
  /** The most bytes of a response, or of a line of a stream. */
  readonly maxResponseBytes: number;
}

/** Codes of Node.js for failures before anything was sent. Browsers tell nothing, so there a request may be sent. */
const NOT_SENT = new Set([
  "ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT",
]);

/** Ends a request when the caller's signal is aborted, or when it takes too long. Close it. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #forward = (): void => this.#controller.abort();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #seconds = 0;
  /** Whether the time has passed. */
  passed = false;

  /** Throws the signal's reason if it is aborted. */
  constructor(caller: AbortSignal | undefined) {
    caller?.throwIfAborted();
    this.#caller = caller;
    caller?.addEventListener("abort", this.#forward);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Let the request end this many seconds from now. */
  restart(seconds: number): void {
    clearTimeout(this.#timer);
    this.#seconds = seconds;
    this.#timer = runAfter(seconds, () => {
      this.passed = true;
      this.#controller.abort();
    });
  }

  /** Stop the time, not the request. */
  pause(): void {
    clearTimeout(this.#timer);
  }

  /** Return why there is no response. Throws the caller's reason if it was the caller who ended the request. */
  explain(base: string, error: unknown): NoAnswer {
    this.#caller?.throwIfAborted();
    if (this.passed) return { sent: true, reason: `${base}: no response within ${this.#seconds} s` };
    return { sent: !NOT_SENT.has(codeOf(error)), reason: `${base}: ${describe(error)}` };
  }

  /** End the request, and forget the signal. */
  close(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#forward);
    this.#controller.abort();
  }
}

/** Return a response whose body is unread, or why there is none. Redirects are not followed: they could get the key. */
export async function open(
  transport: Transport,
  base: string,
  request: Request,
  deadline: Deadline,
): Promise<Response | NoAnswer> {
  const headers = [...transport.headers, ...(request.headers ?? [])].map(
    ([name, value]): [string, string] => [name, headerBytes(value)],
  );
  const { fetch } = transport; // called without a receiver, which browsers insist on
  try {
    return await fetch(base + request.target, {
      method: request.method,
      headers,
      body: (request.body as BodyInit | undefined) ?? null,
      cache: "no-store",
      redirect: "manual",
      signal: deadline.signal,
    });
  } catch (error) {
    return deadline.explain(base, error);
  }
}

/** Return the complete response to a request, or why there is none. Throws the signal's reason if it is aborted. */
export async function send(
  transport: Transport,
  base: string,
  request: Request,
  seconds: number,
  signal?: AbortSignal,
): Promise<Answer | NoAnswer> {
  const deadline = new Deadline(signal);
  try {
    deadline.restart(seconds);
    const response = await open(transport, base, request, deadline);
    return "reason" in response ? response : await complete(transport, response);
  } catch (error) {
    if (error instanceof FanmailError) throw error;
    return deadline.explain(base, error);
  } finally {
    deadline.close();
  }
}

/** Read the body of a response. Throws ServerFault if it is too large, and what `fetch` throws. */
export async function complete(transport: Transport, response: Response): Promise<Answer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  if (response.body) {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (size > transport.maxResponseBytes) {
        throw new ServerFault(`the response has more than ${transport.maxResponseBytes} bytes (maxResponseBytes)`);
      }
    }
  }
  return { status: response.status, headers: response.headers, body: joined(parts, size) };
}

/** Return parts as one array of `size` bytes. */
export function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  if (parts.length === 1) return parts[0] as Uint8Array;
  const whole = new Uint8Array(size);
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}

/** Return the code of an error of Node.js, which is the cause of what `fetch` throws. */
function codeOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: unknown } };
  return typeof cause?.code === "string" ? cause.code : "";
}

function describe(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  const code = codeOf(error);
  return code ? `${text} (${code})` : text;
}

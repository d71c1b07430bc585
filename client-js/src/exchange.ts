/** One call with its retries: which server is asked, for how long, and which error is thrown at the end. */

import { now, pause } from "./clock.js";
import { checkedHeader } from "./encoding.js";
import { errorOf, FanmailError, NotFound, OutcomeUnknown, ServerFault, Unavailable } from "./errors.js";
import type { Answer, Call } from "./http_call.js";
import type { BaseUrls, Retries } from "./retry.js";
import { send, type Transport } from "./transport.js";

/** The remaining part of the total time may be shorter than this; seconds. */
const MIN_TIMEOUT = 0.05;

/** What all calls of a client share. */
export class Exchange {
  constructor(
    transport: Transport,
    baseUrls: BaseUrls,
    retries: Retries,
    timeout: number,
    warn: (text: string) => void,
  ) {
    this.transport = transport;
    this.baseUrls = baseUrls;
    this.retries = retries;
    this.timeout = timeout;
    this.warn = warn;
  }

  readonly transport: Transport;
  readonly baseUrls: BaseUrls;
  readonly retries: Retries;
  /** Seconds for one try, not counting the wait of a long poll. */
  readonly timeout: number;
  /** Called with what loops cannot throw. */
  readonly warn: (text: string) => void;

  /**
   * Try until there is a response, an error that a retry cannot cure, or no time left.
   *
   * If any try may have been executed, the error thrown at the end is `OutcomeUnknown`, whatever the last try said.
   * Throws the signal's reason when it is aborted.
   */
  async call<T>(given: Call<T>, signal?: AbortSignal, retries: Retries = this.retries): Promise<T> {
    const call = withKey(given);
    const budget = new Budget(retries.total, call.extraTimeout ?? 0);
    let failures = 0;
    let unknown = false;
    let untried = this.baseUrls.size - 1;
    for (;;) {
      const base = this.baseUrls.current;
      const seconds = budget.begin(this.timeout);
      const answer = await send(this.transport, base, call.request, seconds, signal);
      if (!("reason" in answer) && answer.status >= 200 && answer.status < 300) return parsed(call, answer);
      const error = errorOf(answer, call.request.method);
      if (unknown && call.goneIsDone && error instanceof NotFound) return call.parse(DONE);
      this.switchIfDown(base, error);
      if (retries.total === 0 || !retries.allows(error, call.repeatable)) throw error;
      budget.end();
      unknown ||= error instanceof OutcomeUnknown;
      if ("reason" in answer && untried && budget.left > 0) {
        untried -= 1; // another server may answer at once
        continue;
      }
      failures += 1;
      untried = this.baseUrls.size - 1;
      const pauseSeconds = retries.pause(failures, error.retryAfter);
      if (pauseSeconds >= budget.left) throw finalError(error, unknown);
      retries.note(error);
      await pause(pauseSeconds, signal);
    }
  }

  /** Use another server for the next try or call if it was this server that failed. */
  switchIfDown(base: string, error: FanmailError): void {
    if (error instanceof Unavailable || error instanceof OutcomeUnknown) this.baseUrls.switchFrom(base);
  }
}

/** The time of a call. The wait of a long poll does not use up the total. */
class Budget {
  readonly #total: number;
  #ends: number;
  #extra: number;
  #began = 0;

  constructor(total: number, extra: number) {
    this.#total = total;
    this.#extra = extra;
    this.#ends = now() + total;
  }

  get left(): number {
    return this.#ends - now();
  }

  /** Begin a try. Return the seconds that it may take. */
  begin(timeout: number): number {
    this.#began = now();
    const left = this.#total ? Math.max(this.left + this.#extra, MIN_TIMEOUT) : Infinity;
    return Math.min(timeout + this.#extra, left);
  }

  end(): void {
    const waited = Math.min(now() - this.#began, this.#extra);
    this.#extra -= waited;
    this.#ends += waited;
  }
}

/** The answer to a call that an earlier try has executed. */
const DONE: Answer = { status: 200, headers: new Headers(), body: new Uint8Array() };

function parsed<T>(call: Call<T>, answer: Answer): T {
  try {
    return call.parse(answer);
  } catch (error) {
    throw new ServerFault(`the response is not from Fanmail: ${String(error)}`, { status: answer.status });
  }
}

/** Return what to throw when retries end: a try whose outcome is unknown outweighs the last one's. */
export function finalError(error: FanmailError, unknown: boolean): FanmailError {
  if (!unknown || error instanceof OutcomeUnknown) return error;
  return new OutcomeUnknown(`an earlier try may have been executed; the last try failed with: ${error.message}`, error);
}

function withKey<T>(call: Call<T>): Call<T> {
  if (!call.wantsKey) return call;
  const headers = [...(call.request.headers ?? []), checkedHeader("Idempotency-Key", newKey())];
  return { ...call, request: { ...call.request, headers }, repeatable: true };
}

/** Return a new idempotency key. It must be unique, and is no secret: Node.js 18 has no global `crypto`. */
export function newKey(): string {
  const values = new Uint32Array(4);
  const source = globalThis.crypto as Crypto | undefined;
  if (source) source.getRandomValues(values);
  else values.forEach((_, index) => (values[index] = Math.random() * 2 ** 32));
  return [...values].map((each) => each.toString(16).padStart(8, "0")).join("");
}

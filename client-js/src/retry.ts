/** The rules of retries: which errors are retried, how long to wait, and which server comes next. */

import { type FanmailError, OutcomeUnknown, Refused, Unavailable } from "./errors.js";

/**
 * How long to retry. All times are seconds.
 *
 * Before each retry there is a pause: `Retry-After`, plus a random part of `base`, 2 x `base`, 4 x `base`, ... up to
 * `maxPause` (full jitter, so that clients do not return all together).
 */
export interface RetryOptions {
  /** How long after the first try another one may begin, not counting the waits of long polls: 30. 0: one try only. */
  readonly total?: number;
  /** Upper limit of the random part of the first pause: 0.1. */
  readonly base?: number;
  /** Upper limit of the random part of every pause: 5. */
  readonly maxPause?: number;
  /** Whether to wait for room after 429, too. By default 429 is thrown at once. */
  readonly refused?: boolean;
  /** Called before each pause with the error that is about to be retried, for logs. */
  readonly onRetry?: (error: FanmailError) => void;
}

/** The rules that a client uses. */
export class Retries {
  readonly total: number;
  readonly #base: number;
  readonly #maxPause: number;
  readonly #refused: boolean;
  readonly #onRetry: ((error: FanmailError) => void) | undefined;

  constructor(options: RetryOptions = {}) {
    this.total = options.total ?? 30;
    this.#base = options.base ?? 0.1;
    this.#maxPause = options.maxPause ?? 5;
    this.#refused = options.refused ?? false;
    this.#onRetry = options.onRetry;
  }

  /** Return the seconds to wait after this many consecutive failures. */
  pause(failures: number, retryAfter = 0): number {
    const ceiling = Math.min(this.#maxPause, this.#base * 2 ** Math.min(failures - 1, 60));
    return retryAfter + ceiling * Math.random();
  }

  /** Return whether a call that failed with `error` may be retried. */
  allows(error: FanmailError, repeatable: boolean): boolean {
    if (error instanceof Unavailable) return true;
    if (error instanceof OutcomeUnknown) return repeatable;
    return this.#refused && error instanceof Refused;
  }

  /** Tell the caller's log that an error is about to be retried. */
  note(error: FanmailError): void {
    this.#onRetry?.(error);
  }
}

/** No retries. */
export const ONCE: Retries = new Retries({ total: 0 });

/** The base URLs, one of which is in use. */
export class BaseUrls {
  readonly #urls: readonly string[];
  #index = 0;

  /** Throws TypeError if there are no URLs or one of them is not a base URL. */
  constructor(urls: readonly string[]) {
    if (!urls.length) throw new TypeError("no base URL");
    this.#urls = urls.map(checkedBaseUrl);
  }

  get size(): number {
    return this.#urls.length;
  }

  /** The base URL in use, without a trailing slash. */
  get current(): string {
    return this.#urls[this.#index] as string;
  }

  /** Switch to the next base URL because `url` does not work, unless another call has switched already. */
  switchFrom(url: string): void {
    if (this.current === url) this.#index = (this.#index + 1) % this.#urls.length;
  }
}

function checkedBaseUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`${JSON.stringify(text)} is not a base URL`);
  }
  if (url.username || url.password) throw new TypeError("a base URL must not have a user name or password: use apiKey");
  if (!["http:", "https:"].includes(url.protocol) || url.search || url.hash) {
    throw new TypeError(`${JSON.stringify(text)} is not a base URL: http:// or https://, without a query or fragment`);
  }
  return url.href.replace(/\/+$/, "");
}

/** The loop of `messages`: reading with a cursor, and the pace of its polls. */

import * as calls from "./calls.js";
import { now, pause } from "./clock.js";
import { NoSubscription } from "./errors.js";
import type { Exchange } from "./exchange.js";
import type { Fetched, Message } from "./message.js";
import type { ReadOptions } from "./options.js";

/** Seconds of a long poll. */
const DEFAULT_WAIT = 20;
/** A long poll that ends empty sooner than this was cut short; the next one is delayed. Seconds. */
const SHORT_POLL = 0.5;

/** Return the seconds of a long poll. */
export function waitOf(options: Pick<ReadOptions, "wait" | "untilEmpty">): number {
  return options.wait ?? (options.untilEmpty ? 0 : DEFAULT_WAIT);
}

/** Delays polls after one that ended empty too soon, as the server is overloaded or stopping, or `wait` is 0. */
export class PollBackoff {
  readonly #exchange: Exchange;
  readonly #short: number;
  #emptyPolls = 0;
  #began = 0;

  constructor(exchange: Exchange, wait: number) {
    this.#exchange = exchange;
    this.#short = wait > SHORT_POLL ? SHORT_POLL : Infinity;
  }

  /** Note the start of a poll. */
  begin(): void {
    this.#began = now();
  }

  /** Pause if the poll came back empty too soon. */
  async after(fetched: Fetched, signal: AbortSignal | undefined): Promise<void> {
    const isEarly = !fetched.messages.length && (fetched.retryAfter > 0 || now() - this.#began <= this.#short);
    this.#emptyPolls = isEarly ? this.#emptyPolls + 1 : 0;
    if (isEarly) await pause(this.#exchange.retries.pause(this.#emptyPolls, fetched.retryAfter), signal);
  }
}

/**
 * Yield the messages after a cursor, endlessly or until none waits.
 *
 * What was yielded is acknowledged by the request that follows the last message of its fetch.
 */
export async function* readMessages(
  exchange: Exchange,
  topic: string,
  user: string,
  options: ReadOptions,
): AsyncGenerator<Message, void, void> {
  const { batch = 1, untilEmpty = false, signal } = options;
  const wait = waitOf(options);
  const backoff = new PollBackoff(exchange, wait);
  let after = options.after ?? "0";
  try {
    for (;;) {
      backoff.begin();
      const fetched = await exchange.call(calls.fetch(topic, user, { limit: batch, after, wait }), signal);
      for (const message of fetched.messages) {
        yield message;
        after = message.id;
      }
      if (untilEmpty && !fetched.messages.length) return;
      await backoff.after(fetched, signal);
    }
  } catch (error) {
    throw explained(error, topic, user, after);
  }
}

/** Return a loop's 404 with an explanation of its possible causes, and any other error as it is. */
export function explained(error: unknown, topic: string, user: string, after = "0"): unknown {
  if (!(error instanceof NoSubscription)) return error;
  const cursor = after === "0" ? "" : ` any more (the cursor was ${after})`;
  const detail =
    `${JSON.stringify(user)} is not subscribed to ${JSON.stringify(topic)}${cursor}: the subscription was removed or ` +
    "expired, or its broker keeps messages in memory only and was restarted, which loses the waiting messages. " +
    'Subscribe again, and continue with after "0"';
  return new NoSubscription(detail, error);
}

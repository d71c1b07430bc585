/** The loop of `work`: leasing messages, handling them, and extending their leases. */

import * as calls from "./calls.js";
import { pause } from "./clock.js";
import { explained, PollBackoff, waitOf } from "./consumer.js";
import { LeaseLost, Refused } from "./errors.js";
import type { Exchange } from "./exchange.js";
import type { Fetched, Message, Worked } from "./message.js";
import type { Handler, WorkOptions } from "./options.js";

const DEFAULT_LEASE = 30;
const DEFAULT_DELAY = 1;
const DEFAULT_MAX_DELAY = 60;

/** Lease messages one by one, have each handled, acknowledge the successful ones and give back the failed ones. */
export async function runWorker(
  exchange: Exchange,
  topic: string,
  user: string,
  handle: Handler,
  options: WorkOptions,
): Promise<Worked> {
  const worked = { done: 0, failed: 0, lost: 0 };
  const { limit = Infinity, signal } = options;
  const backoff = new PollBackoff(exchange, waitOf(options));
  let lostInARow = 0;
  const isOver = (): boolean => signal?.aborted === true || worked.done + worked.failed + worked.lost >= limit;
  try {
    while (!isOver()) {
      // A lost message is redelivered first, possibly to this worker and possibly without end.
      if (lostInARow) await pause(exchange.retries.pause(lostInARow), signal);
      backoff.begin();
      const fetched = await leaseOne(exchange, topic, user, options);
      for (const message of fetched.messages) {
        const outcome = await handled(exchange, message, handle, options);
        worked[outcome] += 1;
        lostInARow = outcome === "lost" ? lostInARow + 1 : 0;
      }
      if (options.untilEmpty && !fetched.messages.length && !fetched.retryAfter) break;
      if (!isOver()) await backoff.after(fetched, signal);
    }
  } catch (error) {
    if (!signal?.aborted || error !== signal.reason) throw explained(error, topic, user);
  }
  return worked;
}

/** Lease one message, if any is available; none is while other workers hold the greatest allowed number. */
async function leaseOne(exchange: Exchange, topic: string, user: string, options: WorkOptions): Promise<Fetched> {
  const { lease = DEFAULT_LEASE, signal } = options;
  try {
    return await exchange.call(calls.fetch(topic, user, { limit: 1, lease, wait: waitOf(options) }), signal);
  } catch (error) {
    if (error instanceof Refused) return { messages: [], retryAfter: error.retryAfter || 1, more: 0 };
    throw error;
  }
}

/** Handle a message and settle it. Return how that went: "lost" if another worker gets the message, too. */
async function handled(
  exchange: Exchange,
  message: Message,
  handle: Handler,
  options: WorkOptions,
): Promise<keyof Worked> {
  const lost = new AbortController();
  const ended = new AbortController();
  const extending = extendLease(exchange, message, options.lease ?? DEFAULT_LEASE, lost, ended.signal);
  let failure: { readonly error: unknown } | undefined;
  try {
    await handle(message, { signal: lost.signal });
  } catch (error) {
    failure = { error };
  }
  ended.abort();
  await extending;
  try {
    if (failure) await giveBack(exchange, message, failure.error, options);
    else await exchange.call(calls.acknowledge(message));
  } catch (error) {
    if (!(error instanceof LeaseLost)) throw error;
    exchange.warn(`lost the lease of ${message.id}: another worker gets it too`);
    return "lost";
  }
  return failure ? "failed" : "done";
}

/** Give a message back with a delay, also if the callback that may choose the delay fails. */
async function giveBack(exchange: Exchange, message: Message, error: unknown, options: WorkOptions): Promise<void> {
  exchange.warn(`the handler of ${message.id} failed: ${String(error)}`);
  const usual = delayAfter(message.attempt, options);
  let chosen: number | undefined | void;
  try {
    chosen = options.failed?.(message, error);
  } catch (thrown) {
    await exchange.call(calls.giveBack(message, usual)).catch(() => undefined); // the lease then runs out
    throw thrown;
  }
  await exchange.call(calls.giveBack(message, chosen ?? usual));
}

/** Return the delay after a failed attempt, the first of which is 1. */
function delayAfter(attempt: number, options: WorkOptions): number {
  const { delay = DEFAULT_DELAY, maxDelay = DEFAULT_MAX_DELAY } = options;
  return Math.min(delay * 2 ** Math.min(attempt - 1, 60), Math.max(delay, maxDelay));
}

/** Extend a lease after each third of it, until it is lost, which aborts `lost`, or `ended` is aborted. */
async function extendLease(
  exchange: Exchange,
  message: Message,
  lease: number,
  lost: AbortController,
  ended: AbortSignal,
): Promise<void> {
  while (!ended.aborted) {
    try {
      await pause(lease / 3, ended);
      await exchange.call(calls.extend(message, lease), ended);
    } catch (error) {
      if (ended.aborted) return;
      if (error instanceof LeaseLost) {
        lost.abort(error);
        return;
      }
      // The handler continues anyway, and the next extension may succeed.
      exchange.warn(`could not extend the lease of ${message.id}: ${String(error)}`);
    }
  }
}

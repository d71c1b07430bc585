/**
 * The loop of `stream`: messages as they come over one open response, and their confirmation beside it.
 *
 * The server ends a stream when it stops, and proxies end connections. The loop opens another stream after the last
 * message that was handled, so nothing is lost.
 */

import * as calls from "./calls.js";
import { pause } from "./clock.js";
import { explained } from "./consumer.js";
import { encodePath, encodeQuery } from "./encoding.js";
import { CursorLost, FanmailError, problemError, ServerFault } from "./errors.js";
import type { Exchange } from "./exchange.js";
import { Lines } from "./lines.js";
import type { Gap, Message } from "./message.js";
import type { StreamOptions } from "./options.js";
import { parseLine, parseMessage, text } from "./responses.js";
import { ONCE, type Retries } from "./retry.js";

/** Seconds between confirmations. */
const CONFIRM_EVERY = 1;
/** Seconds that a stream may be silent; the server sends something every 15 s. */
const SILENCE = 40;
/** Statuses after which another try would be answered in the same way. */
const FATAL = new Set([400, 401, 403, 404]);

/** What a line says: a message, a gap, the end of this stream and why, or nothing that this client knows. */
type Item = { readonly message: Message } | { readonly gap: Gap } | End | undefined;

/** The end of a stream. */
interface End {
  readonly ended: FanmailError;
  /** Whether another stream would end for the same reason. */
  readonly final: boolean;
}

/** Yield messages as they come, endlessly; each is handled when the next one is asked for. */
export async function* streamMessages(
  exchange: Exchange,
  topic: string,
  user: string,
  options: StreamOptions,
): AsyncGenerator<Message, void, void> {
  const { signal, onGap = (gap: Gap) => exchange.warn(gapText(topic, user, gap)) } = options;
  const progress = new Progress(exchange, topic, user, options.after ?? "0");
  let fruitless = 0;
  try {
    for (;;) {
      const before = progress.handled;
      const { ended, final }: End = yield* oneStream(exchange, topic, user, progress, onGap, signal);
      if (final) throw ended;
      if (ended instanceof CursorLost) {
        onGap({ from: progress.handled, position: ended.oldest ?? "" });
        progress.restart();
      }
      fruitless = progress.handled === before ? fruitless + 1 : 1;
      exchange.retries.note(ended);
      await pause(exchange.retries.pause(fruitless, ended.retryAfter), signal);
    }
  } catch (error) {
    throw explained(error, topic, user, progress.handled);
  } finally {
    await progress.close();
  }
}

/** Yield the messages of one stream. Return why it ended. */
async function* oneStream(
  exchange: Exchange,
  topic: string,
  user: string,
  progress: Progress,
  onGap: (gap: Gap) => void,
  signal: AbortSignal | undefined,
): AsyncGenerator<Message, End, void> {
  const after = progress.handled;
  const target = encodePath(topic, user) + encodeQuery({ stream: "ndjson", confirm: "client", after });
  let lines: Lines | undefined;
  try {
    lines = await Lines.open(exchange, { method: "GET", target }, signal);
    progress.confirmed = after;
    for (;;) {
      const item = parseItem(await lines.read(SILENCE), topic, user);
      if (!item) continue;
      if ("ended" in item) return item;
      if ("gap" in item) {
        onGap(item.gap);
      } else {
        yield item.message;
        progress.note(item.message.id);
      }
    }
  } catch (error) {
    if (!(error instanceof FanmailError)) throw error;
    return { ended: error, final: isFinal(error) };
  } finally {
    lines?.close();
  }
}

/** Return whether another try would fail in the same way, as a line that is not of this API would come again. */
export function isFinal(error: FanmailError): boolean {
  return FATAL.has(error.status) || (error instanceof ServerFault && error.status === 0);
}

/** Return what a line says. Throws `ServerFault` if it is not of this API. */
function parseItem(line: Uint8Array, topic: string, user: string): Item {
  if (!line.length) return undefined; // sent after a silence, to keep the connection open
  try {
    const members = parseLine(line);
    const { event, ...problem } = members;
    if (event === undefined) return { message: parseMessage(members, topic, user) };
    if (event === "gap") return { gap: { from: text(members, "from"), position: text(members, "position") } };
    if (event !== "end" && event !== "error") return undefined; // what later servers may add
    return { ended: problemError(Number(members["status"]), problem), final: event === "end" };
  } catch (error) {
    throw new ServerFault(`a line of the stream is not from Fanmail: ${String(error)}`);
  }
}

/** Return a text for a log about messages that are not delivered. */
export function gapText(topic: string, user: string, { from, position }: Gap): string {
  const end = position ? `; going on at ${position}` : "";
  return `${topic}, ${user}: messages from ${from} on were acknowledged elsewhere or dropped${end}`;
}

/** How far a stream is handled, and how far that is confirmed: by one request per second. Close it. */
class Progress {
  readonly #exchange: Exchange;
  readonly #topic: string;
  readonly #user: string;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #ended = new AbortController();
  #confirming: Promise<void> = Promise.resolve();
  /** The id of the last message that was handled. */
  handled: string;
  confirmed: string;

  constructor(exchange: Exchange, topic: string, user: string, after: string) {
    this.#exchange = exchange;
    this.#topic = topic;
    this.#user = user;
    this.handled = this.confirmed = after;
  }

  /** Note that a message was handled, and confirm it soon. */
  note(id: string): void {
    this.handled = id;
    this.#timer ??= setTimeout(() => {
      this.#confirming = this.#confirm(this.#exchange.retries, this.#ended.signal).finally(() => {
        this.#timer = undefined;
      });
    }, CONFIRM_EVERY * 1000);
  }

  /** Continue at the position of the user. */
  restart(): void {
    this.handled = this.confirmed = "0";
  }

  /** Confirm what is handled, with one try. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#ended.abort(); // retries would take too long
    await this.#confirming;
    await this.#confirm(ONCE);
  }

  /** What fails is confirmed with the next one, or repeated. */
  async #confirm(retries: Retries, signal?: AbortSignal): Promise<void> {
    const { handled } = this;
    if (handled === this.confirmed) return;
    try {
      await this.#exchange.call(calls.advance(this.#topic, this.#user, handled), signal, retries);
      this.confirmed = handled;
    } catch (error) {
      if (!signal?.aborted) this.#exchange.warn(`could not acknowledge ${handled}: ${String(error)}`);
    }
  }
}

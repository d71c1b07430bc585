/** One mailbox that a session reads: what has arrived, what is handled, and what to do when the read ends. */

import { explained } from "../consumer.js";
import { CursorLost, FanmailError, LeaseLost } from "../errors.js";
import type { Gap, Message } from "../message.js";
import { gapText, isFinal } from "../streaming.js";
import type { Engine } from "./engine.js";
import { mailbox } from "./ops.js";
import * as ops from "./ops.js";

const DEFAULT_WINDOW = 100;
const DEFAULT_LEASE = 30;

/** Options of `Session.read`. All times are seconds. */
export interface SessionReadOptions {
  /**
   * `"after"`, the default: in order; a message is acknowledged when the next one is asked for. `"lease"`: shared with
   * other workers; each message must be passed to `acknowledge` or `giveBack`.
   */
  readonly mode?: "after" | "lease" | undefined;
  /** With mode `after`: the cursor. "0", the default, continues at the position of the user. */
  readonly after?: string | undefined;
  /** With mode `lease`: the time of a lease: 30. It is extended while the loop goes on. */
  readonly lease?: number | undefined;
  /** The most messages that are here and not acknowledged: 100; from 1 to 1,000. */
  readonly window?: number | undefined;
  /** Called for messages that are not delivered; by default the client's `warn` is. */
  readonly onGap?: ((gap: Gap) => void) | undefined;
  /** When it is aborted, the loop throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A read, from the first request of its loop to its end. */
export class Read {
  readonly topic: string;
  readonly user: string;
  readonly window: number;
  readonly #engine: Engine;
  readonly #options: SessionReadOptions;
  readonly #isLease: boolean;
  readonly #lease: number;
  readonly #leased = new Map<string, Message>();
  #queue: Message[] = [];
  #handled: string;
  #unconfirmed = 0;
  /** The id of the last acknowledgement, until it is answered. */
  #told = "";
  #failures = 0;
  #error: unknown;
  #hasFailed = false;
  /** Whether the server reads no more. */
  #hasEnded = false;
  #isClosed = false;
  /** The loop has ended. */
  #isStopping = false;
  #wake: () => void = () => undefined;
  #extending: ReturnType<typeof setInterval> | undefined;

  /** Throws TypeError for options that no read has. */
  constructor(engine: Engine, topic: string, user: string, options: SessionReadOptions) {
    const { mode = "after", window = DEFAULT_WINDOW } = options;
    if (mode !== "after" && mode !== "lease") throw new TypeError(`${JSON.stringify(mode)} is not a mode`);
    const other = mode === "lease" ? "after" : "lease";
    if (options[other] !== undefined) throw new TypeError(`${other} is for mode ${other}, and mode is ${mode}`);
    if (!Number.isInteger(window) || window < 1 || window > 1000) throw new TypeError("window is not from 1 to 1000");
    this.#engine = engine;
    this.topic = ops.checkedName(topic);
    this.user = ops.checkedName(user);
    this.window = window;
    this.#options = options;
    this.#isLease = mode === "lease";
    this.#lease = options.lease ?? DEFAULT_LEASE;
    this.#handled = options.after ?? "0";
  }

  get key(): string {
    return mailbox(this.topic, this.user);
  }

  /** What begins this read, beside `ref`. */
  get request(): ops.Members {
    const { topic, user, window } = this;
    const place = this.#isLease ? { mode: "lease", lease: this.#lease } : { mode: "after", after: this.#handled };
    return { op: "read", topic, user, window, ...place };
  }

  /** Yield messages until the session is closed. */
  async *messages(): AsyncGenerator<Message, void, void> {
    const { signal } = this.#options;
    const abort = (): void => this.#wake();
    signal?.throwIfAborted();
    this.#engine.addRead(this);
    signal?.addEventListener("abort", abort);
    if (this.#isLease) this.#extending = setInterval(() => this.#extend(), (this.#lease / 3) * 1000);
    try {
      for (let message; (message = await this.#next()); ) {
        yield message;
        this.#note(message);
      }
    } finally {
      clearInterval(this.#extending);
      signal?.removeEventListener("abort", abort);
      this.#isStopping = true;
      await this.#engine.removeRead(this, this.#hasEnded ? [] : this.#last());
    }
  }

  /** Return what ends it on the server, after acknowledging what was handled, or giving back what nobody asked for. */
  #last(): ops.Op<void>[] {
    const { topic, user } = this;
    const returned = this.#isLease ? this.#queue.map((message) => ops.giveBack(message, 0)) : [];
    const isGone = this.#error instanceof FanmailError && isFinal(this.#error);
    const isLate = this.#unconfirmed > 0 || this.#told !== "";
    const acknowledged = isLate && !isGone ? [ops.advance(topic, user, this.#handled)] : [];
    return [...returned, ...acknowledged, ops.stop(topic, user)];
  }

  /** Return the next message, or undefined when the session is closed. */
  async #next(): Promise<Message | undefined> {
    for (;;) {
      this.#options.signal?.throwIfAborted();
      if (this.#hasFailed) throw explained(this.#error, this.topic, this.user, this.#handled);
      if (this.#isClosed) return undefined;
      const message = this.#queue.shift();
      if (message && !this.#wasHandled(message)) return message;
      if (!message) {
        this.#confirm();
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
  }

  /** A message that was being handled when the connection ended comes again over the next one. */
  #wasHandled(message: Message): boolean {
    if (this.#isLease) return false;
    const [epoch, seq] = partsOf(message.id);
    const [handledEpoch, handledSeq] = partsOf(this.#handled);
    return epoch === handledEpoch && seq <= handledSeq;
  }

  #note(message: Message): void {
    this.#failures = 0;
    if (this.#isLease) return;
    this.#handled = message.id;
    this.#unconfirmed += 1;
    if (this.#unconfirmed * 4 > this.window) this.#confirm(); // else there would be no room for more
  }

  #confirm(): void {
    if (!this.#unconfirmed) return;
    this.#unconfirmed = 0;
    if (!this.#engine.isConnected) return; // the next connection continues behind what is handled
    const id = (this.#told = this.#handled);
    this.#engine.submit(ops.advance(this.topic, this.user, id)).then(
      () => {
        if (this.#told === id) this.#told = "";
      },
      (error: unknown) => this.#notConfirmed(id, error as FanmailError),
    );
  }

  /** Repeat an acknowledgement that has failed, unless a later one follows: else the window might stay full. */
  #notConfirmed(id: string, error: FanmailError): void {
    const isOver = (): boolean => !this.#told || this.#hasFailed || this.#isClosed || this.#isStopping;
    if (isOver()) return;
    if (isFinal(error)) {
      this.fail(error);
    } else if (error instanceof CursorLost) {
      this.#engine.tell(ops.stop(this.topic, this.user).members);
      this.#engine.ended(this, error);
    } else if (this.#told === id) {
      this.#failures += 1;
      this.#engine.repeat(this.#failures, error, () => {
        if (isOver() || this.#told !== id) return;
        this.#unconfirmed += 1;
        this.#confirm();
      });
    }
  }

  /**
   * A message has arrived. Return whether there was room for it.
   *
   * A lease that has ended makes room on the server, not here, so the window may be exceeded.
   */
  push(message: Message): boolean {
    if (this.#isStopping) {
      if (this.#isLease) this.#engine.tell(ops.giveBack(message, 0).members);
      return true;
    }
    if (this.#queue.length >= 2 * this.window) return false;
    if (this.#isLease) this.#leased.set(message.receipt, message);
    this.#queue.push(message);
    this.#wake();
    return true;
  }

  /** The leased message was acknowledged or given back. */
  settled(receipt: string): void {
    this.#leased.delete(receipt);
  }

  #extend(): void {
    for (const message of this.#leased.values()) {
      this.#engine.submit(ops.extend(message, this.#lease)).catch((error: unknown) => {
        if (error instanceof LeaseLost) this.settled(message.receipt);
      });
    }
  }

  gap(gap: Gap): void {
    const { onGap = (each: Gap) => this.#engine.warn(gapText(this.topic, this.user, each)) } = this.#options;
    try {
      onGap(gap);
    } catch (error) {
      this.fail(error); // it is the caller's own
    }
  }

  /** The connection has ended, and with it all leases; what is not handled comes again. */
  interrupted(): void {
    this.#queue = [];
    this.#leased.clear();
    this.#unconfirmed = 0;
    this.#told = "";
  }

  /** The read has ended, or did not begin. Return the failures in a row if it may begin again, else 0. */
  ended(error: FanmailError): number {
    this.interrupted();
    if (isFinal(error)) {
      this.#hasEnded = true;
      this.fail(error);
      return 0;
    }
    if (error instanceof CursorLost) {
      this.gap({ from: this.#handled, position: error.oldest ?? "" });
      this.#handled = "0";
    }
    this.#failures += 1;
    return this.#failures;
  }

  /** Let the loop throw this error. */
  fail(error: unknown): void {
    this.#error = error;
    this.#hasFailed = true;
    this.#wake();
  }

  /** Let the loop end. */
  close(): void {
    this.#confirm();
    this.#isClosed = true;
    this.#wake();
  }
}

/** Return epoch and number of a cursor. */
function partsOf(cursor: string): [epoch: string, seq: number] {
  const end = cursor.lastIndexOf("-");
  return [cursor.slice(0, Math.max(end, 0)), Number(cursor.slice(end + 1))];
}

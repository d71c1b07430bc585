/** Operations that are not answered: in order per lane, with their retries. No I/O. */

import { now, runAfter } from "../clock.js";
import { FanmailError, OutcomeUnknown, ServerFault, Unavailable } from "../errors.js";
import { finalError } from "../exchange.js";
import type { Retries } from "../retry.js";
import { type Members, type Op, toJson } from "./ops.js";
import { countTogether, together } from "./together.js";

/** An operation until its result is known. */
export interface Pending {
  readonly ref: number;
  readonly op: Op<unknown>;
  /** What is sent. */
  readonly text: string;
  /** When its retries end, in seconds of the clock. */
  readonly ends: number;
  readonly settle: (error: unknown, result?: unknown) => void;
  /** When it was sent last. */
  sentAt: number;
  /** Whether an earlier try may have been executed. */
  unknown: boolean;
  /** The acknowledgements in whose place it is. */
  readonly parts?: readonly Pending[];
}

/** What is to be sent in order. */
class Lane {
  readonly key: string;
  queue: Pending[] = [];
  /** The index of the first operation of `queue` that was not taken. */
  head = 0;
  /** What failed and is to be sent again, in front of the others. */
  again: Pending[] = [];
  sent = 0;
  /** Failures without a success in between. */
  failures = 0;
  isHeld = false;
  isReady = false;

  constructor(key: string) {
    this.key = key;
  }

  get isEmpty(): boolean {
    return this.head === this.queue.length;
  }

  /** Return the first operation, or one in place of several acknowledgements. The lane must not be empty. */
  take(takesLists: boolean): Pending {
    const count = takesLists ? countTogether(this.queue, this.head) : 1;
    const parts = this.queue.slice(this.head, this.head + count) as [Pending, ...Pending[]];
    this.head += count;
    if (this.head === this.queue.length || this.head > 1000) {
      this.queue = this.queue.slice(this.head);
      this.head = 0;
    }
    return count > 1 ? together(parts) : parts[0];
  }

  /** Put operations in front. */
  putBack(pendings: readonly Pending[]): void {
    this.queue = [...pendings, ...this.queue.slice(this.head)];
    this.head = 0;
  }

  /** Put what failed in front, in the order in which it was made. */
  beginAgain(): void {
    this.putBack(this.again.sort((left, right) => left.ref - right.ref));
    this.again = [];
    this.isHeld = false;
  }
}

/** All operations of a session. `wake` is called when a lane may send again after a pause, `idle` when none is left. */
export class Lanes {
  readonly #lanes = new Map<string, Lane>();
  readonly #sent = new Map<number, Pending>();
  #ready: Lane[] = [];
  readonly #retries: Retries;
  /** How long after it was made an operation may be sent. */
  readonly #seconds: number;
  readonly #wake: () => void;
  readonly #idle: () => void;
  #lastRef = 0;
  /** Whether leases are acknowledged together, until a server refuses that: one of an older version does. */
  #takesLists = true;

  /** @param timeout - Seconds of one try. */
  constructor(retries: Retries, timeout: number, wake: () => void, idle: () => void) {
    this.#retries = retries;
    this.#seconds = retries.total || timeout;
    this.#wake = wake;
    this.#idle = idle;
  }

  /** The number of operations that were sent and are not answered. */
  get sent(): number {
    return this.#sent.size;
  }

  get isIdle(): boolean {
    return !this.#lanes.size;
  }

  /** When the oldest operation was sent that is not answered; Infinity if there is none. */
  get oldestSentAt(): number {
    for (const pending of this.#sent.values()) return pending.sentAt;
    return Infinity;
  }

  /** Add an operation. Throws TypeError for what JSON cannot carry. */
  add(op: Op<unknown>, settle: Pending["settle"]): void {
    const ref = ++this.#lastRef;
    const text = toJson({ ...op.members, ref });
    const pending = { ref, op, text, ends: now() + this.#seconds, settle, sentAt: 0, unknown: false };
    const lane = this.#lane(op.lane);
    lane.queue.push(pending);
    this.#makeReady(lane);
  }

  /** Return the next operation to send, which then counts as sent. */
  take(): Pending | undefined {
    for (let lane; (lane = this.#ready.shift()); ) {
      lane.isReady = false;
      if (lane.isHeld || lane.isEmpty) continue; // what waited has failed since
      const pending = lane.take(this.#takesLists);
      lane.sent += 1;
      pending.sentAt = now();
      this.#sent.set(pending.ref, pending);
      this.#makeReady(lane);
      return pending;
    }
    return undefined;
  }

  /** Take the answer to an operation: its members, or its error. Answers to others are ignored. */
  answer(ref: number, members: Members, error: FanmailError | undefined): void {
    const pending = this.#sent.get(ref);
    if (!pending) return;
    this.#sent.delete(ref);
    const lane = this.#lane(pending.op.lane);
    lane.sent -= 1;
    if (error?.status === 400 && pending.parts) {
      this.#takesLists = false;
      lane.putBack(pending.parts);
      this.#makeReady(lane);
    } else if (error) this.#failed(lane, pending, error);
    else this.#done(lane, pending, members);
    this.#tidy(lane);
  }

  /** The connection has ended: what was sent is sent again over the next one, or fails. */
  interrupt(error: FanmailError): void {
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    this.#takesLists = true;
    for (const pending of sent) {
      const lane = this.#lane(pending.op.lane);
      lane.sent -= 1;
      pending.unknown = true;
      if (pending.op.repeatable && error instanceof OutcomeUnknown && this.#retries.total) lane.again.push(pending);
      else pending.settle(finalError(error, error instanceof OutcomeUnknown));
    }
    for (const lane of [...this.#lanes.values()]) {
      if (!lane.isHeld) lane.beginAgain();
      this.#makeReady(lane);
      this.#tidy(lane);
    }
  }

  /** Let operations fail that wait for a connection and whose time is over. */
  expire(): void {
    const time = now();
    this.#drop((pending) => pending.ends <= time, new Unavailable("there was no connection in time"));
  }

  /** Let all operations fail. */
  fail(error: Error): void {
    for (const ref of [...this.#sent.keys()]) {
      this.#sent.get(ref)?.settle(error);
      this.#sent.delete(ref);
    }
    this.#drop(() => true, error);
    this.#lanes.clear();
    this.#ready = [];
    this.#idle();
  }

  #done(lane: Lane, pending: Pending, members: Members): void {
    lane.failures = 0;
    let result: unknown;
    try {
      result = pending.op.parse(members);
    } catch (error) {
      pending.settle(new ServerFault(`the answer is not from Fanmail: ${String(error)}`));
      return;
    }
    pending.settle(undefined, result);
  }

  #failed(lane: Lane, pending: Pending, error: FanmailError): void {
    pending.unknown ||= error instanceof OutcomeUnknown;
    const pauseSeconds = this.#retries.pause(lane.failures + 1, error.retryAfter);
    if (!this.#retries.total || !this.#retries.allows(error, pending.op.repeatable)) pending.settle(error);
    else if (now() + pauseSeconds >= pending.ends) pending.settle(finalError(error, pending.unknown));
    else this.#hold(lane, pending, pauseSeconds, error);
  }

  /** Keep an operation for another try; those behind it wait, too. */
  #hold(lane: Lane, pending: Pending, pauseSeconds: number, error: FanmailError): void {
    lane.again.push(pending);
    if (lane.isHeld) return;
    lane.isHeld = true;
    lane.failures += 1;
    this.#retries.note(error);
    runAfter(pauseSeconds, () => {
      lane.beginAgain();
      this.#makeReady(lane);
      this.#tidy(lane);
      this.#wake();
    });
  }

  #drop(isOver: (pending: Pending) => boolean, error: Error): void {
    for (const lane of [...this.#lanes.values()]) {
      const waiting = [...lane.again, ...lane.queue.slice(lane.head)];
      const over = waiting.filter(isOver);
      if (!over.length) continue;
      lane.again = lane.again.filter((each) => !isOver(each));
      lane.queue = lane.queue.slice(lane.head).filter((each) => !isOver(each));
      lane.head = 0;
      for (const { settle, unknown } of over) {
        settle(error instanceof FanmailError ? finalError(error, unknown) : error);
      }
      this.#tidy(lane);
    }
  }

  #lane(key: string): Lane {
    let lane = this.#lanes.get(key);
    if (!lane) this.#lanes.set(key, (lane = new Lane(key)));
    return lane;
  }

  #makeReady(lane: Lane): void {
    if (lane.isReady || lane.isHeld || lane.isEmpty) return;
    lane.isReady = true;
    this.#ready.push(lane);
  }

  /** Forget a lane without anything. One that has failed may have a successor, which stays. */
  #tidy(lane: Lane): void {
    const isOver = lane.isEmpty && !lane.again.length && !lane.sent && !lane.isHeld;
    if (!isOver || this.#lanes.get(lane.key) !== lane) return;
    this.#lanes.delete(lane.key);
    if (this.isIdle) this.#idle();
  }
}

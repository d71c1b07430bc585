/** Acknowledgements of leases that wait together are sent as one operation, and each has its own result. No I/O. */

import { LeaseLost } from "../errors.js";
import type { Pending } from "./lanes.js";
import * as ops from "./ops.js";

/** Leases that are acknowledged together: what a server takes. */
const MAX_TOGETHER = 1000;
/** The characters of their receipts, which every server takes in one message. */
const MAX_CHARACTERS = 24 * 1024;

/** Return how many operations at the front of a queue are sent as one: 1, or more acknowledgements. */
export function countTogether(queue: readonly Pending[], head: number): number {
  let room = MAX_CHARACTERS;
  let at = head;
  for (let receipt; at - head < MAX_TOGETHER && (receipt = queue[at]?.op.receipt); at += 1) {
    room -= receipt.length + 3;
    if (room < 0) break;
  }
  return Math.max(at - head, 1);
}

/** Return one operation in place of several acknowledgements of one mailbox. */
export function together(parts: readonly [Pending, ...Pending[]]): Pending {
  const { ref, op: first } = parts[0];
  const op = ops.acknowledgeAll(first, parts.map((each) => each.op.receipt as string));
  const settle = (error: unknown, lost?: unknown): void => {
    for (const each of parts) {
      const isLost = error === undefined && (lost as Set<unknown>).has(each.op.receipt);
      each.settle(isLost ? newLeaseLost() : error);
    }
  };
  const ends = Math.max(...parts.map((each) => each.ends));
  return { ref, op, text: ops.toJson({ ...op.members, ref }), ends, settle, sentAt: 0, unknown: false, parts };
}

function newLeaseLost(): LeaseLost {
  return new LeaseLost("the message was not acknowledged", { code: "lease-lost", status: 409 });
}

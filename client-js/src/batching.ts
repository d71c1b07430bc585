/** Splitting of messages into batches. */

import { bodyBytes } from "./encoding.js";

/** The server's default limits of a batch; the bytes with frame headers. */
const MAX_BATCH_MESSAGES = 10_000;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const FRAME_HEADER_BYTES = 4;

/** Split messages into arrays for `publishMany`, each of at most `maxMessages` and `maxBytes`. */
export function* batches(
  bodies: Iterable<Uint8Array | string>,
  maxMessages: number = MAX_BATCH_MESSAGES,
  maxBytes: number = MAX_BATCH_BYTES,
): Generator<Uint8Array[], void, void> {
  let batch: Uint8Array[] = [];
  let size = 0;
  for (const body of bodies) {
    const bytes = bodyBytes(body);
    if (batch.length && (batch.length === maxMessages || size + bytes.length + FRAME_HEADER_BYTES > maxBytes)) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(bytes);
    size += bytes.length + FRAME_HEADER_BYTES;
  }
  if (batch.length) yield batch;
}
